// SPDX-License-Identifier: Apache-2.0
//
// Threads that never resume. In a child process up to 64 threads are held for ever, each before another instruction of some
// operation, half of them with pins in their hands. The others go on for hundreds of thousands of operations over far more keys
// than fit. What they are answered is right, puts are still stored, the budget is never passed, and the bytes that the held
// threads keep from being used again stay below a bound that does not grow with what the others do:
//
//   a held thread withholds at most what it has pinned, the entry it was building, the one it was replacing, two under its
//   hazards (pins and hazards keep one entry each, however many scans pass) and, if it was held inside a scan, what that had
//   taken: three batches at most (retired, sealed, ready), which is no more than what was ever retired at a time.
//
// The child ends with _exit: the held threads are never joined, and what they hold is never reported as a leak.
#include "stepped_operations.hpp"
#include "stepper.hpp"

#include <sys/wait.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

namespace tiercache::l1::test {
namespace {

constexpr unsigned threads_held = 64;
constexpr unsigned pins_each = 4;
constexpr std::uint64_t entry_bytes_max = 192;  // Marked, the key, the entry's own bytes, rounded up
constexpr std::uint64_t capacity = 8 << 20;
constexpr std::uint64_t keys_of_a_worker = 60'000;
constexpr unsigned workers = 3;

/// In the child, where gtest's failures would be lost: says why and ends the process.
void child_must(bool right, const char* otherwise) {
  if (right) return;
  std::printf("child: %s\n", otherwise);
  std::fflush(stdout);
  _exit(1);
}

std::string key_of(unsigned worker, std::uint64_t n) { return "w" + std::to_string(worker) + ":" + std::to_string(n); }

struct Tally {
  std::atomic<std::uint64_t> puts{0}, stored{0}, fills{0}, filled{0}, reads{0}, hits{0}, used_peak{0}, retired_peak{0};
};

void raise_to(std::atomic<std::uint64_t>& peak, std::uint64_t value) {
  std::uint64_t seen = peak.load(std::memory_order_relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

/// The only thread that touches these keys and still runs: what it stored last is what it finds, or nothing.
void work(Typed<Marked>& t, unsigned worker, std::uint64_t operations, std::uint64_t seed, Tally& tally) {
  std::vector<std::uint64_t> last(keys_of_a_worker);
  for (std::uint64_t i = 0; i < operations; ++i) {
    const std::uint64_t random = mix64(seed + worker * operations + i);
    const std::uint64_t n = (random >> 8) % keys_of_a_worker;
    const std::string key = key_of(worker, n);
    switch (random % 8) {
      case 0:
      case 1:
      case 2:
        ++tally.puts;
        if (t.put(key, Marked(n, i + 1)) == PutStatus::stored) {
          ++tally.stored;
          last[n] = i + 1;
        }
        break;
      case 3: {
        ++tally.fills;
        const PutStatus status = t.fill(t.ticket(key), key, Marked(n, i + 1));
        if (status == PutStatus::stored) {
          ++tally.filled;
          last[n] = i + 1;
        }
        child_must(status != PutStatus::too_large, "a fill was too large");
        break;
      }
      case 4:
        t.erase(key);
        child_must(!t.find(key), "a value after an erase");
        break;
      default:
        ++tally.reads;
        if (const Pin found = t.find(key)) {
          ++tally.hits;
          child_must(t.value(found).intact(n) && t.value(found).version == last[n], "another value than the last one stored");
        }
    }
    const L1Stats stats = t.table->stats();
    child_must(stats.used_bytes <= capacity, "over the budget");
    const std::uint64_t puts = tally.puts;  // first: while this thread waits for its turn, others put and store
    child_must(tally.stored + 1000 > puts / 2, "most puts are refused");
    raise_to(tally.used_peak, stats.used_bytes);
    raise_to(tally.retired_peak, stats.retired_bytes);
  }
}

void run_workers(Typed<Marked>& t, std::uint64_t operations, std::uint64_t seed, Tally& tally) {
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < workers; ++w) threads.emplace_back(work, std::ref(t), w, operations, seed, std::ref(tally));
  for (auto& thread : threads) thread.join();
}

/// What is left when every key was erased and everything that can be freed was.
std::uint64_t withheld(Typed<Marked>& t, const std::vector<Scene*>& scenes) {
  for (unsigned w = 0; w < workers; ++w) {
    for (std::uint64_t n = 0; n < keys_of_a_worker; ++n) t.erase(key_of(w, n));
  }
  for (Scene* scene : scenes) {
    for (const auto& key : scene->keys) t.erase(key);
    for (std::uint64_t n = 0; n < Scene::loads; ++n) t.erase("load" + std::to_string(n));
  }
  for (unsigned i = 0; i < 4; ++i) t.table->drain();
  const L1Stats stats = t.table->stats();
  return stats.used_bytes - stats.fixed_bytes;
}

std::uint64_t length_of(Stepper& stepper, const VictimOperation& operation, Scene& scene) {
  Coverage coverage;
  Plan plan;
  plan.coverage = &coverage;
  scene.clear();
  operation.prepare(scene);
  const std::function<void()> here = [&] { operation.prepare_here(scene); };
  const std::function<void()> stepped = [&] { operation.run(scene); };
  static_cast<void>(stepper.start(plan, here, stepped));
  scene.clear();
  return stepper.count();
}

/// In a scene of its own.
struct Victim {
  Victim(Typed<Marked>& t, unsigned number) : scene(t, ("victim" + std::to_string(number)).c_str(), 6) {}
  Scene scene;
  std::vector<Pin> pins;
  std::function<void()> here, stepped;
  Stepper stepper;
};

[[noreturn]] void child(std::uint64_t seed, std::uint64_t operations) {
  Options o = small_options(capacity);
  o.expected_entry_bytes = 160;
  static Typed<Marked> t(o);  // never destroyed: _exit
  Tally before;
  run_workers(t, operations / 4, seed, before);
  const std::uint64_t left_before = withheld(t, {});
  child_must(left_before == 0, "bytes are withheld though nobody is held");

  std::map<std::string, unsigned> kinds;
  std::vector<Scene*> scenes;
  {
    // Every operation but those that fill the whole table first, and those that use up what the table has for all: budget, views.
    const std::set<std::string_view> left_out{"put that evicts", "resize down and up", "add a view in a new chunk"};
    std::vector<const VictimOperation*> choice;
    for (const auto& operation : victim_operations) {
      if (left_out.count(operation.name) == 0) choice.push_back(&operation);
    }
    for (unsigned v = 0; v < threads_held; ++v) {
      auto* victim = new Victim(t, v);  // NOLINT: its thread never ends
      const VictimOperation& operation = *choice[v % choice.size()];
      const std::uint64_t length = length_of(victim->stepper, operation, victim->scene);
      scenes.push_back(&victim->scene);
      operation.prepare(victim->scene);
      victim->here = [victim, v, &operation] {
        for (unsigned p = 0; v % 2 == 0 && p < pins_each; ++p) {
          const std::string pinned = "pinned" + std::to_string(v * pins_each + p);
          t.put(pinned, Marked(p, Scene::before));
          victim->pins.push_back(t.find(pinned));
        }
        operation.prepare_here(victim->scene);
      };
      victim->stepped = [victim, &operation] { operation.run(victim->scene); };
      Plan plan;
      plan.mode = Plan::Mode::once;
      plan.hold_at = 1 + mix64(seed * 64 + v) % length;
      plan.patience = std::chrono::milliseconds::zero();
      // Shorter than it was: what the threads held before left to be scanned differs.
      while (victim->stepper.start(plan, victim->here, victim->stepped) != Stepper::Event::held) {
        child_must(plan.hold_at > 1, "a thread could not be held");
        plan.hold_at /= 2;
      }
      ++kinds[operation.name];
    }
  }
  const unsigned held = threads_held;
  for (unsigned v = 0; v < threads_held * pins_each; ++v) t.erase("pinned" + std::to_string(v));

  Tally tally;
  run_workers(t, operations, seed + 1, tally);
  const std::uint64_t left = withheld(t, scenes);
  // A second time: it does not grow.
  Tally again;
  run_workers(t, operations / 4, seed + 2, again);
  const std::uint64_t left_again = withheld(t, scenes);

  const std::uint64_t batch = before.retired_peak;  // what lies retired at once when nobody is held
  const std::uint64_t bound = held * (4 * entry_bytes_max + batch) + threads_held / 2 * pins_each * entry_bytes_max;
  const auto count = [](const std::atomic<std::uint64_t>& n) { return static_cast<unsigned long long>(n.load()); };
  std::printf(
      "%u threads held for ever in %zu operations; %llu of %llu puts stored, %llu of %llu fills, %llu of %llu reads hit\n", held,
      kinds.size(), count(tally.stored), count(tally.puts), count(tally.filled), count(tally.fills), count(tally.hits),
      count(tally.reads));
  std::printf("at most %llu of %llu bytes used; withheld %llu, then %llu; the bound is %llu (a batch: %llu)\n",
              count(tally.used_peak), static_cast<unsigned long long>(capacity), static_cast<unsigned long long>(left),
              static_cast<unsigned long long>(left_again), static_cast<unsigned long long>(bound), count(before.retired_peak));
  child_must(tally.stored * 1000 >= tally.puts * 999, "over one put in 1000 was refused");
  child_must(tally.hits > tally.reads / 100, "reads hardly ever hit");
  child_must(left <= bound && left_again <= bound, "the held threads withhold more than the bound");
  child_must(left > 0, "held threads with pins should withhold something");
  child_must(left_again <= left + batch, "what is withheld grows with what the others do");
  std::fflush(stdout);
  _exit(0);
}

TEST(Killed, ThreadsThatNeverResumeLeaveOthersCorrectAndMemoryBounded) {
  const bool stress = std::getenv("TIERCACHE_STRESS") != nullptr;
  const std::uint64_t seed = test_seed();
  const unsigned runs = rounds(stress ? 30 : 1);
  const std::uint64_t operations = stress ? 200'000 : 70'000;  // of each worker
  for (unsigned run = 0; run < runs; ++run) {
    std::fflush(stdout);
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      alarm(240);  // one that hangs ends by this signal
      child(seed + run, operations);
    }
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "run " << run << " of seed " << seed << ", status " << status;
  }
}

}  // namespace
}  // namespace tiercache::l1::test
