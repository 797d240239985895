// SPDX-License-Identifier: Apache-2.0
//
// Worlds in processes: each is forked off a parent that has the scripts compiled and nothing else, so a world begins with what
// every other begins with, and one that dies takes no other along.
#include "campaign.hpp"

#include "redis.hpp"
#include "world.hpp"

#include <scripts.hpp>
#include <scripts_bulk.hpp>

#include <nlohmann/json.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

namespace tiercache::sim {
namespace {

/// What a world's process tells its parent: a plain block, then the texts.
struct Told {
  std::uint64_t seed = 0, hash = 0, events = 0, reads = 0, by_l1 = 0, within = 0, excused = 0, writes = 0, commands = 0,
                faults = 0;
  std::uint32_t violations = 0;
  std::uint8_t ended = 0;
  char first[400] = {};
};

struct Sum {
  std::uint64_t worlds = 0, bad = 0, events = 0, reads = 0, by_l1 = 0, within = 0, excused = 0, writes = 0, commands = 0,
                faults = 0;
  std::vector<Told> failures{};
};

double seconds_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

Told run_world(std::uint64_t seed, const Ablation* ablation, Lua& lua, bool trace) {
  // Never freed: the process ends with the world.
  auto* const world = new World(seed, ablation, lua, trace);
  const Outcome o = world->run();
  Told told{seed, o.hash, o.events, o.reads, o.by_l1, o.within, o.excused, o.writes, o.commands, o.faults};
  told.ended = o.ended ? 1 : 0;
  told.violations = static_cast<std::uint32_t>(o.violations.size());
  const std::string first = !o.violations.empty() ? o.violations.front() : o.ended ? "" : "it does not come to an end";
  std::strncpy(told.first, first.c_str(), sizeof told.first - 1);
  return told;
}

bool is_bad(const Told& t) { return t.violations != 0 || t.ended == 0; }

/// Forks a process for each seed, `jobs` at a time, and hands what they tell to `each` in the order of the seeds' ends; until it
/// says false.
class Workers {
 public:
  Workers(const Ablation* ablation, unsigned jobs, bool trace) : ablation_(ablation), jobs_(jobs), trace_(trace) {
    for (const l2::Script* s :
         {&l2::scripts().put, &l2::scripts().erase, &l2::scripts().announce, &l2::scripts().lease_renew,
          &l2::scripts().lease_release, &l2::scripts().remove_if, &l2::scripts().resync, &l2::scripts().exists,
          &l2::scripts().erase_versions, &l2::scripts().gate, &l2::scripts().put_many, &l2::scripts().lease_fill,
          &l2::bulk_scripts().lease_get, &l2::bulk_scripts().heartbeat, &l2::bulk_scripts().members})
      lua_.load(s->text);
  }

  template <class Each>
  void run(std::uint64_t first, std::uint64_t count, Each&& each) {
    std::uint64_t next = first;
    bool going = true;
    while (going || !running_.empty()) {
      while (going && next < first + count && running_.size() < jobs_) start(next++);
      if (next == first + count) going = false;
      if (running_.empty()) break;
      const Told told = wait_for_one();
      if (going || next == first + count) {
        if (!each(told)) going = false, next = first + count + 1;
      }
    }
  }

 private:
  struct Worker {
    std::uint64_t seed;
    int fd;
  };

  void start(std::uint64_t seed) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    std::fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
      ::close(ends[0]);
      alarm(120);  // no world takes so long
      const Told told = run_world(seed, ablation_, lua_, trace_);
      if (trace_) std::fflush(stdout);
      const bool written = write(ends[1], &told, sizeof told) == sizeof told;
      _exit(written ? 0 : 1);
    }
    ::close(ends[1]);
    running_[pid] = {seed, ends[0]};
  }

  Told wait_for_one() {
    for (;;) {
      int status = 0;
      const pid_t pid = wait(&status);
      const auto found = running_.find(pid);
      if (found == running_.end()) continue;
      Told told;
      told.seed = found->second.seed;
      if (read(found->second.fd, &told, sizeof told) != sizeof told) {
        told.violations = 1;
        std::snprintf(told.first, sizeof told.first, "the world's process ended by signal %d, status %d",
                      WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
      }
      ::close(found->second.fd);
      running_.erase(found);
      return told;
    }
  }

  const Ablation* ablation_;
  const unsigned jobs_;
  const bool trace_;
  Lua lua_;
  std::map<pid_t, Worker> running_;
};

unsigned jobs_of(const Settings& s) {
  return s.jobs != 0 ? s.jobs : std::max(1U, static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN)));
}

void add(Sum& sum, const Told& t) {
  ++sum.worlds;
  if (is_bad(t)) ++sum.bad, sum.failures.push_back(t);
  sum.events += t.events;
  sum.reads += t.reads;
  sum.by_l1 += t.by_l1;
  sum.within += t.within;
  sum.excused += t.excused;
  sum.writes += t.writes;
  sum.commands += t.commands;
  sum.faults += t.faults;
}

void print_failure(const Told& t, const Ablation* ablation) {
  std::printf("seed %llu: %s\n  replay: ./run stress simulation --seed %llu --trace%s%s\n",
              static_cast<unsigned long long>(t.seed), t.first, static_cast<unsigned long long>(t.seed),
              ablation != nullptr ? " --ablate " : "", ablation != nullptr ? std::string(ablation->name).c_str() : "");
}

void write_json(const Settings& s, const Sum& sum, double took) {
  if (s.json.empty()) return;
  nlohmann::json j;
  j["first_seed"] = s.first;
  j["worlds"] = sum.worlds;
  j["violations"] = sum.bad;
  j["seconds"] = took;
  j["reads"] = sum.reads;
  j["reads_by_l1"] = sum.by_l1;
  j["reads_stale_within_the_budget"] = sum.within;
  j["reads_excused"] = sum.excused;
  j["writes_acknowledged"] = sum.writes;
  j["commands"] = sum.commands;
  j["faults"] = sum.faults;
  j["events"] = sum.events;
  if (s.ablation != nullptr) j["ablated"] = s.ablation->name;
  for (const Told& t : sum.failures) j["failures"].push_back({{"seed", t.seed}, {"what", t.first}});
  std::ofstream(s.json) << j.dump(2) << '\n';
}

}  // namespace

int run_campaign(const Settings& s) {
  Sum sum;
  const double began = seconds_now();
  double told = began;
  Workers workers(s.ablation, jobs_of(s), s.trace);
  workers.run(s.first, s.seeds, [&](const Told& t) {
    add(sum, t);
    if (s.hashes)
      std::printf("seed %llu hash %016llx\n", static_cast<unsigned long long>(t.seed), static_cast<unsigned long long>(t.hash));
    if (is_bad(t) && sum.bad <= 10) print_failure(t, s.ablation);
    if (seconds_now() - told > 10) {
      told = seconds_now();
      std::fprintf(stderr, "%llu worlds, %llu violations, %.0f a second\n", static_cast<unsigned long long>(sum.worlds),
                   static_cast<unsigned long long>(sum.bad), static_cast<double>(sum.worlds) / (told - began));
    }
    return true;
  });
  if (s.repeat) {
    std::map<std::uint64_t, std::uint64_t> seen;
    for (int round = 0; round < 2; ++round) {
      Workers again(s.ablation, jobs_of(s), false);
      again.run(s.first, s.seeds, [&](const Told& t) {
        const auto [at, fresh] = seen.emplace(t.seed, t.hash);
        if (!fresh && at->second != t.hash)
          std::printf("seed %llu is not the same run twice\n", static_cast<unsigned long long>(t.seed)), ++sum.bad;
        return true;
      });
    }
    if (std::set<std::uint64_t> different;
        std::for_each(seen.begin(), seen.end(), [&](const auto& one) { different.insert(one.second); }),
        different.size() != seen.size())
      std::printf("seeds are the same run\n"), ++sum.bad;
  }
  const double took = seconds_now() - began;
  write_json(s, sum, took);
  std::printf(
      "%llu worlds from seed %llu in %.1f s (%.0f a second): %llu events, %llu faults, %llu writes acknowledged, %llu commands\n"
      "%llu reads judged, %llu by L1; stale within the budget %llu, excused %llu\n"
      "%llu worlds broke the promise\n",
      static_cast<unsigned long long>(sum.worlds), static_cast<unsigned long long>(s.first), took,
      static_cast<double>(sum.worlds) / took, static_cast<unsigned long long>(sum.events),
      static_cast<unsigned long long>(sum.faults), static_cast<unsigned long long>(sum.writes),
      static_cast<unsigned long long>(sum.commands), static_cast<unsigned long long>(sum.reads),
      static_cast<unsigned long long>(sum.by_l1), static_cast<unsigned long long>(sum.within),
      static_cast<unsigned long long>(sum.excused), static_cast<unsigned long long>(sum.bad));
  return sum.bad == 0 ? 0 : 1;
}

int check_system() {
  Scheduler scheduler(7);
  Process process;
  process.clock_offset = 12'345 * millis;
  process.tick = 10 * millis;
  std::vector<std::string> wrong;
  const auto want = [&](bool good, const char* what) {
    if (!good) wrong.emplace_back(what);
  };
  std::vector<std::uint64_t> drawn;
  const double began = seconds_now();
  scheduler.spawn(process, "check", [&] {
    const auto exact = [&] { return scheduler.now() + process.clock_offset; };
    want(std::chrono::steady_clock::now().time_since_epoch().count() == exact(), "steady_clock is not virtual");
    want(coarse_now_ms() == exact() / millis / 10 * 10, "the coarse clock is not virtual, or has no tick");
    const auto before = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::hours(1));
    want(std::chrono::steady_clock::now() - before == std::chrono::hours(1), "a sleep is not virtual");
    std::mutex mutex;
    std::condition_variable changed;
    bool said = false;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::minutes(5));
      const std::lock_guard lock(mutex);
      said = true;
      changed.notify_one();
    });
    {
      std::unique_lock lock(mutex);
      want(!changed.wait_for(lock, std::chrono::minutes(1), [&] { return said; }), "a wait does not time out");
      want(changed.wait_for(lock, std::chrono::hours(1), [&] { return said; }), "a thread is not heard");
    }
    other.join();
    const auto took = std::chrono::steady_clock::now() - before;
    want(took >= std::chrono::minutes(65) && took < std::chrono::minutes(66), "a thread's time is not the world's");
    for (int i = 0; i < 4; ++i) drawn.push_back(random_u64());
  });
  want(scheduler.run_until(scheduler.now() + Nanos{3} * 3600 * 1000 * millis), "it does not end");
  want(seconds_now() - began > 3600, "the runner's own clock is not the world's while there is one");
  Random entropy(mix64(7 ^ 0xe47));
  want(drawn.size() == 4, "the check did not run");
  for (const std::uint64_t n : drawn) {
    const auto high = static_cast<std::uint32_t>(entropy.next());
    const auto low = static_cast<std::uint32_t>(entropy.next());
    want(n == ((std::uint64_t{high} << 32) ^ low), "random_u64() is not drawn from the seed");
  }
  for (const std::string& what : wrong) std::printf("%s\n", what.c_str());
  std::printf("%s\n", wrong.empty() ? "time, entropy and threads are the world's" : "FAILED");
  return wrong.empty() ? 0 : 1;
}

int run_self_test(const Settings& s) {
  int missed = 0;
  for (const Ablation& a : ablations()) {
    if (s.ablation != nullptr && s.ablation != &a) continue;
    const double began = seconds_now();
    std::uint64_t worlds = 0;
    std::optional<Told> caught;
    Workers workers(&a, jobs_of(s), false);
    workers.run(s.first, s.seeds, [&](const Told& t) {
      ++worlds;
      if (is_bad(t)) caught = t;
      return !caught;
    });
    if (caught)
      std::printf("caught  %-18s in %llu worlds, %.1f s; seed %llu: %s\n", std::string(a.name).c_str(),
                  static_cast<unsigned long long>(worlds), seconds_now() - began, static_cast<unsigned long long>(caught->seed),
                  caught->first);
    else
      std::printf("MISSED  %-18s in %llu worlds, %.1f s\n", std::string(a.name).c_str(), static_cast<unsigned long long>(worlds),
                  seconds_now() - began);
    std::fflush(stdout);
    if (!caught) ++missed;
  }
  for (const auto& [name, why] : not_expressed())
    std::printf("left out %-17s %s\n", std::string(name).c_str(), std::string(why).c_str());
  std::printf("%zu of %zu remedies noticed\n", ablations().size() - static_cast<std::size_t>(missed), ablations().size());
  return missed == 0 ? 0 : 1;
}

}  // namespace tiercache::sim
