// SPDX-License-Identifier: Apache-2.0
//
// When what was removed is freed: with a barrier of this thread or another, or without any.
#include "domain.hpp"
#include "fixture.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>

namespace tiercache::l1::test {
namespace {

/// A value at whose end, in a drain, another thread removes one more.
struct Followed {
  Followed() noexcept = default;
  Followed(Followed&&) noexcept {}
  Followed& operator=(Followed&&) = delete;
  ~Followed() {
    if (!draining || ++ended > ends_max) return;
    const unsigned turn = ++asked;
    while (served.load() < turn) std::this_thread::yield();
  }
  static constexpr unsigned ends_max = 1000;
  inline static thread_local bool draining = false;
  inline static std::atomic<unsigned> ended{0}, asked{0}, served{0};
};

// While one thread drains, another removes an entry for each that is freed. A drain that passes over a lane until a pass frees
// nothing has no end.
TEST(Drain, EndsWhileAnotherRemoves) {
  constexpr unsigned first = 8;
  for (std::atomic<unsigned>* count : {&Followed::ended, &Followed::asked, &Followed::served}) *count = 0;
  Typed<Followed> t(small_options(8 << 20));
  std::atomic<bool> ready{false}, stop{false};
  const auto remove_one = [&t] {
    EXPECT_EQ(t.put("k", Followed()), PutStatus::stored);
    EXPECT_TRUE(t.erase("k"));
  };
  std::thread other([&] {
    for (unsigned n = 0; n < first; ++n) remove_one();
    ready = true;
    while (!stop) {
      if (Followed::asked == Followed::served) continue;
      remove_one();
      ++Followed::served;
    }
  });
  while (!ready) std::this_thread::yield();
  Followed::draining = true;
  t.table->drain();
  Followed::draining = false;
  stop = true;
  other.join();
  EXPECT_GE(Followed::ended, first);
  EXPECT_LE(Followed::ended, 4 * first);
  EXPECT_VALID(*t.table);
}

/// A thread inside the tables that does what it is told, and nothing else.
class Other {
 public:
  Other() {
    (*this)([] { static_cast<void>(thread_index()); });
  }
  ~Other() {
    tasks_ = end;
    tasks_.notify_one();
    thread_.join();
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;
  void operator()(std::function<void()> task) {
    task_ = std::move(task);
    const unsigned before = tasks_++;
    tasks_.notify_one();
    done_.wait(before);
  }

 private:
  static constexpr unsigned end = ~0U;
  std::function<void()> task_;
  std::atomic<unsigned> tasks_{0}, done_{0};
  std::thread thread_{[this] {
    for (unsigned done = 0;;) {
      tasks_.wait(done);
      if (tasks_ == end) return;
      task_();
      done_ = ++done;
      done_.notify_one();
    }
  }};
};

/// Some batches come and go. The barriers that were run meanwhile.
std::uint64_t barriers_of(
    Typed<std::uint64_t>& t, const std::function<void(unsigned)>& between = [](unsigned) {}) {
  constexpr unsigned entries = 4000;
  const std::uint64_t begun = detail::seal().barriers;
  for (unsigned n = 0; n < entries; ++n) {
    EXPECT_EQ(t.put("k", n), PutStatus::stored);
    EXPECT_TRUE(t.erase("k"));
    between(n);
  }
  return detail::seal().barriers - begun;
}

TEST(Reclaim, ABatchIsFreedWithTheBarrierOfAnother) {
  Typed<std::uint64_t> t(small_options(8 << 20));
  const Other idle;
  const std::uint64_t alone = barriers_of(t);
  EXPECT_GE(alone, 2U);
  EXPECT_LE(alone, 40U);
  EXPECT_EQ(barriers_of(t, [](unsigned) { EXPECT_TRUE(detail::run_barrier()); }), 4000U) << "the table ran some of its own";
  EXPECT_LE(t.table->stats().retired_bytes, (8U << 20) / 100) << "more than three batches wait";
  EXPECT_VALID(*t.table);
}

TEST(Reclaim, ABatchIsFreedWithoutABarrierOnceAllThreadsHaveComeBy) {
  Typed<std::uint64_t> t(small_options(8 << 20));
  EXPECT_EQ(barriers_of(t), 0U) << "there is no other thread";
  EXPECT_LE(t.table->stats().retired_bytes, (8U << 20) / 100) << "more than three batches wait";
  {
    Other other;
    EXPECT_GE(barriers_of(t), 2U) << "the other one never came by";
    const auto store = [&t] { EXPECT_EQ(t.put("other", 1), PutStatus::stored); };
    const auto barriers_beside = [&](const std::function<void()>& task) {
      other(store);  // what was sealed before does not count
      return barriers_of(t, [&](unsigned n) {
        if (n % 50 == 0) other(task);  // several times a batch
      });
    };
    EXPECT_EQ(barriers_beside(store), 0U);
    EXPECT_EQ(barriers_beside([&t] { EXPECT_FALSE(t.find("absent")); }), 0U) << "a miss does it";
    if (StdSync::quick()) {
      EXPECT_GE(barriers_beside([&t] { EXPECT_TRUE(t.find("other")); }), 2U) << "a hit takes no time for it";
    }
  }
  EXPECT_EQ(barriers_of(t), 0U) << "it has ended";
  EXPECT_VALID(*t.table);
}

/// Knows whether it lives.
struct Living {
  static constexpr std::uint64_t alive = 0x5eed;
  unsigned key;
  std::atomic<std::uint64_t> state{alive};
  explicit Living(unsigned k) noexcept : key(k) {}
  Living(Living&& other) noexcept : key(other.key) {}
  Living& operator=(Living&&) = delete;
  ~Living() { state = 0; }
};

/// A thread that stays, others that come and go, pins that are copied, and such as outlive their threads; batches are freed
/// without a barrier meanwhile.
/// It sees whether hazards are heeded. That threads have to come by is for the model to show (l1_mutation): on a machine what a
/// thread stored is there long before a batch is full.
TEST(Reclaim, NothingIsFreedUnderAReaderWhereNoBarrierIsRun) {
  Typed<Living> t(small_options(8 << 20));
  constexpr unsigned keys = 100;
  constexpr std::uint64_t wanted = 50;  // batches without a barrier
  const std::uint64_t seed = test_seed();
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<bool> stop{false};
  const auto check = [&](const Pin& pin, unsigned key) {
    if (t.value(pin).state != Living::alive || t.value(pin).key != key) ++wrong;
  };
  const auto work = [&](std::uint64_t own, unsigned steps, const std::function<void(unsigned)>& look) {
    std::mt19937_64 random(seed + own);
    Pin kept;
    unsigned kept_key = 0;
    for (unsigned n = 0; n < steps && !stop; ++n) {
      const auto key = static_cast<unsigned>(random() % keys);
      const std::string name = std::to_string(key);
      if (random() % 2 == 0) static_cast<void>(t.put(name, Living(key)));
      if (random() % 4 == 0) static_cast<void>(t.erase(name));
      if (Pin pin = t.find(name)) {
        Pin copy = pin.duplicate();
        check(pin, key);
        pin = {};
        if (copy) check(copy, key);
        if (kept) check(kept, kept_key);
        if (random() % 8 == 0) {
          kept = std::move(copy);
          kept_key = key;
        }
      }
      look(n);
    }
    return std::pair(std::move(kept), kept_key);
  };
  std::thread stays([&] { static_cast<void>(work(1, ~0U, [](unsigned) {})); });
  std::thread starts([&] {
    for (std::uint64_t n = 2; !stop; ++n) {
      std::pair<Pin, unsigned> left;
      std::thread([&] { left = work(n, 2000, [](unsigned) {}); }).join();
      if (left.first) check(left.first, left.second);
    }
  });
  const detail::Seal before = detail::seal();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  static_cast<void>(work(0, ~0U, [&](unsigned n) {
    if (n % 1024 != 1023) return;
    const detail::Seal now = detail::seal();
    const std::uint64_t batches = now.number - before.number - (n + 1) / 1024;  // but for the seals taken here
    const std::uint64_t barriers = now.barriers - before.barriers;
    if (batches >= barriers + wanted) stop = true;
    if (std::chrono::steady_clock::now() < end) return;
    stop = true;
    ADD_FAILURE() << batches << " batches, " << barriers << " barriers";
  }));
  stays.join();
  starts.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_VALID(*t.table);
}

}  // namespace
}  // namespace tiercache::l1::test
