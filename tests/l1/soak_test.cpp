// SPDX-License-Identifier: Apache-2.0
//
// 32 threads, every value checked. Each key has one writer, which numbers what it does: it writes version v to the database (an
// array), then puts v into the table or erases the key there, and then notes v as completed. All threads read all keys, fill them
// from the database under tickets, and hold pins for a while or hand them to each other. A read is wrong when what it finds
//
//   * is not intact, or another key's,
//   * is older than the version that was noted as completed before the read began, or
//   * is newer than the database when the read has ended;
//
// and a pinned value is wrong when it is not what it was when it was pinned, or no longer alive. Nothing may be wrong.
//
// The checker is tried, too: with the fence of fills taken out it must find a wrong read.
//
// 20 million operations here, 10^9 with TIERCACHE_STRESS, fewer under sanitizers.
#include "fixture.hpp"

#include <tiercache/base/lab.hpp>

#include <array>
#include <chrono>
#include <thread>

namespace tiercache::l1::test {
namespace {

constexpr unsigned threads = 32;
constexpr std::uint64_t keys = 16384;  // of which most fit
constexpr unsigned pins_held = 8;
constexpr unsigned mailboxes = 8;  // few: all of them may come to hold pins of one thread

#if defined(__SANITIZE_ADDRESS__) || defined(TIERCACHE_TSAN)
constexpr std::uint64_t usual_operations = 400'000;
#else
constexpr std::uint64_t usual_operations = 20'000'000;
#endif

/// Of any size, on the heap for one key in eight; knows when it was destroyed.
struct Checked {
  static constexpr std::uint64_t alive = 0x600dca11f1a57ULL;
  std::uint64_t key = 0;
  std::uint64_t version = 0;
  std::uint64_t check = 0;
  std::uint64_t mark = alive;
  std::vector<std::uint64_t> more;

  Checked(std::uint64_t k, std::uint64_t v) : key(k), version(v), check(mix64(k * 131 + v)) {
    if (k % 8 == 0) more.assign(v % 24 + 1, check);
  }
  Checked(Checked&& o) noexcept : key(o.key), version(o.version), check(o.check), mark(o.mark), more(std::move(o.more)) {}
  Checked& operator=(Checked&&) = delete;
  ~Checked() { std::atomic_ref<std::uint64_t>(mark).store(0, std::memory_order_relaxed); }
  [[nodiscard]] bool intact(std::uint64_t k) const {
    if (key != k || check != mix64(k * 131 + version) || mark != alive) return false;
    return k % 8 != 0 || (more.size() == version % 24 + 1 && more.front() == check && more.back() == check);
  }
};

struct alignas(64) KeyState {
  std::atomic<std::uint64_t> database{0};
  std::atomic<std::uint64_t> completed{0};  // by the one writer: its put or erase of this version returned
};

/// A pin on its way to another thread.
struct Parcel {
  Pin pin;
  std::uint64_t key = 0;
  std::uint64_t version = 0;
};

struct Counts {
  std::uint64_t operations = 0, reads = 0, hits = 0, puts = 0, erases = 0, fills = 0, filled = 0, fenced = 0, handed = 0,
                wrong = 0;
  Counts& operator+=(const Counts& o) {
    operations += o.operations, reads += o.reads, hits += o.hits, puts += o.puts, erases += o.erases;
    fills += o.fills, filled += o.filled, fenced += o.fenced, handed += o.handed, wrong += o.wrong;
    return *this;
  }
};

class Soak {
 public:
  Soak(std::uint64_t seed, bool quiet) : seed_(seed), quiet_(quiet), t_(options()), states_(keys) {
    for (std::uint64_t k = 0; k < keys; ++k) names_.push_back("object:" + std::to_string(k));
  }
  ~Soak() {
    for (auto& box : boxes_) delete box.load();
  }

  Counts run(std::uint64_t operations) {
    const auto begun = std::chrono::steady_clock::now();
    std::vector<std::thread> all;
    std::array<Counts, threads> counts;
    for (unsigned n = 0; n < threads; ++n) {
      all.emplace_back([&, n] { counts[n] = work(n, operations / threads); });
    }
    Counts sum;
    for (unsigned n = 0; n < threads; ++n) {
      all[n].join();
      sum += counts[n];
    }
    for (auto& box : boxes_) {
      const std::unique_ptr<Parcel> left(box.exchange(nullptr));
      if (left) sum.wrong += kept(*left) ? 0U : 1U;
    }
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    const auto u = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
    std::printf("%llu operations by %u threads in %.1f s (%.2f million a second): %llu wrong\n", u(sum.operations), threads, s,
                static_cast<double>(sum.operations) / s / 1e6, u(sum.wrong));
    std::printf(
        "%llu reads, %llu hits; %llu puts, %llu erases, %llu fills of which %llu stored and %llu fenced; %llu pins handed over\n",
        u(sum.reads), u(sum.hits), u(sum.puts), u(sum.erases), u(sum.fills), u(sum.filled), u(sum.fenced), u(sum.handed));
    return sum;
  }
  Typed<Checked>& table() { return t_; }

 private:
  static Options options() {
    Options o = small_options(2 << 20);
    o.expected_entry_bytes = 192;
    return o;
  }
  [[nodiscard]] bool kept(const Parcel& parcel) const {
    const auto& value = *static_cast<const Checked*>(parcel.pin.value());
    return value.intact(parcel.key) && value.version == parcel.version;
  }

  /// The writer's step: false only if the cache could neither store nor forget, which cannot be.
  void write(std::uint64_t k, bool erase, Counts& c) {
    KeyState& state = states_[k];
    const std::uint64_t version = state.database.load(std::memory_order_relaxed) + 1;  // its one writer is this thread
    // (92) release: a fill that reads this version with (93) does so under a ticket older than the put or erase below, or reads
    // on.
    state.database.store(version, std::memory_order_release);
    if (erase) ++c.erases;
    else ++c.puts;
    // A put that finds no room leaves the older value: then it has to go.
    if (erase || t_.put(names_[k], Checked(k, version)) != PutStatus::stored) t_.erase(names_[k]);
    state.completed.store(version, std::memory_order_release);  // (94) pairs with (95)
  }
  void fill(std::uint64_t k, Counts& c) {
    const Ticket ticket = t_.ticket(names_[k]);
    const std::uint64_t version = states_[k].database.load(std::memory_order_acquire);  // (93)
    if (version == 0) return;
    ++c.fills;
    const PutStatus status = t_.fill(ticket, names_[k], Checked(k, version));
    c.filled += status == PutStatus::stored ? 1U : 0U;
    c.fenced += status == PutStatus::fenced ? 1U : 0U;
  }
  void judge(const Checked& value, std::uint64_t k, std::uint64_t completed, Counts& c) {
    ++c.hits;
    const std::uint64_t newest = states_[k].database.load(std::memory_order_acquire);
    if (value.intact(k) && value.version >= completed && value.version <= newest) return;
    ++c.wrong;
    if (quiet_) return;
    std::printf("wrong: key %llu: found version %llu of key %llu (mark %llx) where %llu was completed and %llu is the newest\n",
                static_cast<unsigned long long>(k), static_cast<unsigned long long>(value.version),
                static_cast<unsigned long long>(value.key), static_cast<unsigned long long>(value.mark),
                static_cast<unsigned long long>(completed), static_cast<unsigned long long>(newest));
  }

  Counts work(unsigned self, std::uint64_t operations) {
    Counts c;
    std::vector<Parcel> held(pins_held);
    std::uint64_t random = mix64(seed_ * threads + self + 1);
    for (; c.operations < operations && c.wrong < 10; ++c.operations) {
      random = random * 6364136223846793005ULL + 1442695040888963407ULL;
      const std::uint64_t r = random >> 16;
      // Skewed: the lower of two, so that some keys are hot.
      const std::uint64_t k = std::min(r % keys, (r >> 16) % keys);
      const std::uint64_t own = k / threads * threads + self;
      const auto choice = static_cast<unsigned>((r >> 40) % 128);
      const std::uint64_t completed = states_[k].completed.load(std::memory_order_acquire);  // (95)
      if (choice < 64) {
        ++c.reads;
        if (const Pin found = t_.find(names_[k])) judge(t_.value(found), k, completed, c);
        else if (!pins_exhausted()) fill(k, c);
      } else if (choice < 84) {
        ++c.reads;
        t_.table->visit(t_.view, names_[k], t_.hash(names_[k]), 0, fake_now_ms,
                        [&](const void* value, const Entry&) { judge(*static_cast<const Checked*>(value), k, completed, c); });
      } else if (choice < 100) {
        write(own, false, c);
      } else if (choice < 108) {
        write(own, true, c);
      } else if (choice < 116) {
        fill(k, c);
      } else if (choice < 124) {
        Parcel& place = held[choice % pins_held];
        if (place.pin && !kept(place)) ++c.wrong;
        ++c.reads;
        place.pin = t_.find(names_[k]);
        if (place.pin) {
          judge(t_.value(place.pin), k, completed, c);
          place.key = k;
          place.version = t_.value(place.pin).version;
        }
      } else {
        exchange(held[choice % pins_held], r % mailboxes, c);
      }
    }
    for (const Parcel& place : held) c.wrong += place.pin && !kept(place) ? 1U : 0U;
    return c;
  }
  /// Puts a pin, or a copy of it, into a box and takes what was there.
  void exchange(Parcel& mine, std::uint64_t box, Counts& c) {
    std::unique_ptr<Parcel> out;
    if (mine.pin) {
      Pin copy = mine.pin.duplicate();
      if (copy) out.reset(new Parcel{std::move(copy), mine.key, mine.version});
    }
    const std::unique_ptr<Parcel> in(boxes_[box].exchange(out.release(), std::memory_order_acq_rel));  // (96) with itself
    if (!in) return;
    ++c.handed;
    if (!kept(*in)) ++c.wrong;
    mine = std::move(*in);
  }

  std::uint64_t seed_;
  bool quiet_;
  Typed<Checked> t_;
  std::vector<KeyState> states_;
  std::vector<std::string> names_;
  std::array<std::atomic<Parcel*>, mailboxes> boxes_{};
};

TEST(Soak, NoReadIsWrongAmongThirtyTwoThreads) {
  const bool stress = std::getenv("TIERCACHE_STRESS") != nullptr;
  const std::uint64_t seed = test_seed();
  // In legs, each with a table of its own: progress is seen, and each leg ends with a full count.
  const std::uint64_t legs = rounds(stress ? 50 : 1);
  Counts sum;
  for (std::uint64_t leg = 0; leg < legs; ++leg) {
    Soak soak(seed + leg, false);
    sum += soak.run(usual_operations);
    std::fflush(stdout);
    soak.table().table->drain();
    EXPECT_VALID(*soak.table().table);
    EXPECT_LE(soak.table().table->stats().used_bytes, soak.table().table->stats().capacity_bytes);
    ASSERT_EQ(sum.wrong, 0U) << "leg " << leg << " of seed " << seed;
    ASSERT_GT(sum.hits, sum.reads / 20);
    ASSERT_GT(sum.fenced, 0U);
    ASSERT_GT(sum.handed, 0U);
  }
  std::printf("in all %llu operations, %llu hits checked: %llu wrong\n", static_cast<unsigned long long>(sum.operations),
              static_cast<unsigned long long>(sum.hits), static_cast<unsigned long long>(sum.wrong));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(TIERCACHE_TSAN)  // too few operations there
TEST(Soak, WithoutTheFenceItFindsAWrongRead) {
  const std::uint64_t seed = test_seed();
  std::uint64_t wrong = 0;
  lab::ablate(lab::Remedy::fence);
  for (unsigned leg = 0; leg < 20 && wrong == 0; ++leg) wrong += Soak(seed + leg, true).run(usual_operations / 8).wrong;
  lab::ablate(lab::Remedy::fence, false);
  EXPECT_GT(wrong, 0U);
}
#endif

}  // namespace
}  // namespace tiercache::l1::test
