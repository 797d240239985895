// SPDX-License-Identifier: Apache-2.0
//
// Lock-freedom, tried: a victim thread runs one operation under the x86 trap flag, so that a signal arrives after each of its
// instructions; at the k-th the handler holds it there. While it is held, other threads must complete a fixed number of all
// operations on the same key, on its bucket and elsewhere, and what they do must be right. Then the victim goes on, and the table
// must be valid. Every k in a stride, for every kind of operation.
//
// Only instructions of this executable are counted (the library is linked into it): inside libc, that is malloc, memcpy and the
// membarrier stub, the victim is never held; what malloc does to others is outside the claim. Left out under sanitizers, whose
// instrumented code and own locks would be held instead, and on machines other than x86-64.
#include "fixture.hpp"

#include <semaphore.h>
#include <ucontext.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <functional>
#include <thread>

extern "C" char __executable_start;
extern "C" char etext;

namespace tiercache::l1::test {
namespace {

constexpr greg_t trap_flag = 0x100;

struct Stepper {
  std::atomic<std::uint64_t> count{0};
  std::atomic<std::uint64_t> hold_at{0};
  std::atomic<bool> holding{false};
} stepper;

/// POSIX, because sem_post may be called in a signal handler.
class Semaphore {
 public:
  Semaphore() { sem_init(&sem_, 0, 0); }
  ~Semaphore() { sem_destroy(&sem_); }
  void post() { sem_post(&sem_); }
  void wait() {
    while (sem_wait(&sem_) != 0) {
    }
  }
  [[nodiscard]] bool wait_bounded() {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    return sem_timedwait(&sem_, &until) == 0;
  }

 private:
  sem_t sem_;
};
Semaphore held_or_done;  // the victim tells the test
Semaphore go_on;         // the test tells the victim

void on_trap(int, siginfo_t*, void* context) {
  greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto at = static_cast<std::uintptr_t>(registers[REG_RIP]);
  if (at < reinterpret_cast<std::uintptr_t>(&__executable_start) || at >= reinterpret_cast<std::uintptr_t>(&etext)) return;
  const std::uint64_t count = stepper.count.fetch_add(1, std::memory_order_relaxed) + 1;
  if (count != stepper.hold_at.load(std::memory_order_relaxed)) return;
  stepper.holding.store(true, std::memory_order_release);
  held_or_done.post();
  go_on.wait();
  registers[REG_EFL] &= ~trap_flag;  // the rest at full speed
}

[[gnu::always_inline]] inline void step_on() { asm volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc"); }
[[gnu::always_inline]] inline void step_off() { asm volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc"); }

struct Value {
  std::uint64_t key;
  std::uint64_t version;
  std::uint64_t pad[4];
};

/// A thread that runs one job at a time, so that the victim has its record and the kernel's structures before it is stepped.
class Worker {
 public:
  explicit Worker(Semaphore& done) : done_(done), thread_([this] { loop(); }) {}
  ~Worker() {
    job_ = nullptr;
    ready_.post();
    thread_.join();
  }
  /// `job` lives until it posted `done`.
  void start(const std::function<void()>& job) {
    job_ = &job;
    ready_.post();
  }

 private:
  void loop() {
    static_cast<void>(thread_index());
    for (;;) {
      ready_.wait();
      if (job_ == nullptr) return;
      (*job_)();
      done_.post();
    }
  }
  const std::function<void()>* job_ = nullptr;
  Semaphore ready_;
  Semaphore& done_;
  std::thread thread_;
};

struct Case {
  const char* name;
  void (*prepare)(Typed<Value>&, const std::vector<std::string>& keys);
  void (*operation)(Typed<Value>&, const std::vector<std::string>& keys, const Ticket&);
};

void fill_up(Typed<Value>& t) {
  for (std::uint64_t i = 0; i < 400; ++i) t.put("load" + std::to_string(i), Value{i, 1, {}});
}

// The key operated on is keys[0]; the others share its bucket.
const Case cases[] = {
    {"get",
     [](Typed<Value>& t, const std::vector<std::string>& k) {
       t.put(k[0], Value{0, 1, {}});
     },
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) { static_cast<void>(t.find(k[0])); }},
    {"get of an expired entry",
     [](Typed<Value>& t, const std::vector<std::string>& k) {
       EntryMeta expired;
       expired.hard_expiry_ms = 1;
       t.put(k[0], Value{0, 1, {}}, expired);
     },
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) { static_cast<void>(t.find(k[0])); }},
    {"put of a new key", [](Typed<Value>&, const std::vector<std::string>&) {},
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) {
       t.put(k[0], Value{0, 2, {}});
     }},
    {"put over an old value",
     [](Typed<Value>& t, const std::vector<std::string>& k) {
       t.put(k[0], Value{0, 1, {}});
     },
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) {
       t.put(k[0], Value{0, 2, {}});
     }},
    {"fill", [](Typed<Value>&, const std::vector<std::string>&) {},
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket& ticket) {
       t.fill(ticket, k[0], Value{0, 2, {}});
     }},
    {"erase",
     [](Typed<Value>& t, const std::vector<std::string>& k) {
       t.put(k[0], Value{0, 1, {}});
     },
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) { t.erase(k[0]); }},
    {"put into a full bucket",
     [](Typed<Value>& t, const std::vector<std::string>& k) {
       for (std::size_t i = 1; i < k.size(); ++i) t.put(k[i], Value{i, 1, {}});
     },
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) {
       t.put(k[0], Value{0, 2, {}});
     }},
    {"put that evicts and reclaims", [](Typed<Value>& t, const std::vector<std::string>&) { fill_up(t); },
     [](Typed<Value>& t, const std::vector<std::string>& k, const Ticket&) {
       t.put(k[0], Value{0, 2, {}});
     }},
    {"drain",
     [](Typed<Value>& t, const std::vector<std::string>& k) {
       for (std::size_t i = 0; i < k.size(); ++i) t.put(k[i], Value{i, 1, {}});
       for (const auto& key : k) t.erase(key);
     },
     [](Typed<Value>& t, const std::vector<std::string>&, const Ticket&) { t.table->drain(); }},
};

/// All kinds of operations, a fixed number; true when each answered as it must.
bool rival(Typed<Value>& t, const std::vector<std::string>& keys, std::uint64_t version, std::string& wrong) {
  const std::uint64_t capacity = t.table->stats().capacity_bytes;
  for (std::uint64_t i = 0; i < 12; ++i) {
    for (std::size_t k = 0; k < keys.size(); k += i % 3 + 1) {
      if (t.put(keys[k], Value{k, version + i, {}}) != PutStatus::stored) wrong = "a put was refused";
      if (Pin pin = t.find(keys[k])) {
        if (t.value(pin).key != k || t.value(pin).version != version + i) wrong = "an older value after a put";
      }
      const Ticket ticket = t.ticket(keys[k]);
      t.erase(keys[k]);
      if (t.find(keys[k])) wrong = "a value after an erase";
      if (t.fill(ticket, keys[k], Value{k, 0, {}}) != PutStatus::fenced) wrong = "an outdated fill was let in";
      if (k % 2 == 0) t.fill(t.ticket(keys[k]), keys[k], Value{k, version + i, {}});
    }
    for (std::uint64_t n = 0; n < 6; ++n) {
      if (t.put("rival" + std::to_string(i * 6 + n), Value{n, 1, {}}) != PutStatus::stored) wrong = "an evicting put was refused";
    }
    t.table->drain();
    if (t.table->stats().used_bytes > capacity) wrong = "over the budget";
  }
  return wrong.empty();
}

class Parked : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Parked, AThreadHeldAtAnyInstructionHoldsUpNobody) {
  const Case& what = cases[GetParam()];
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  Semaphore rivals_done;
  Worker victim(held_or_done), other(rivals_done);

  // 0 holds nowhere and counts: the operation's length.
  const auto attempt = [&](std::uint64_t hold_at, bool& held) {
    Options o = small_options(32 << 10);
    o.expected_entry_bytes = 128;
    Typed<Value> t(o);
    const auto keys = keys_of_one_bucket(t, 8);
    what.prepare(t, keys);
    const Ticket ticket = t.ticket(keys[0]);
    stepper.count = 0;
    stepper.hold_at = hold_at;
    stepper.holding = false;
    const std::function<void()> stepped = [&] {
      step_on();
      what.operation(t, keys, ticket);
      step_off();
    };
    victim.start(stepped);
    if (!held_or_done.wait_bounded()) std::abort();
    held = stepper.holding.load();
    bool passed = true;
    if (held) {
      std::string wrong;
      const std::function<void()> rivals = [&] { rival(t, keys, 100, wrong); };
      other.start(rivals);
      const bool in_time = rivals_done.wait_bounded();
      if (!in_time) {
        ADD_FAILURE() << "held at instruction " << hold_at << ": others did not finish";
        passed = false;
      }
      go_on.post();
      if ((!in_time && !rivals_done.wait_bounded()) || !held_or_done.wait_bounded()) std::abort();
      EXPECT_EQ(wrong, "") << "held at instruction " << hold_at;
      passed = passed && wrong.empty();
    }
    auto valid = t.table->validate();
    EXPECT_TRUE(valid.ok()) << "held at instruction " << hold_at << ": " << valid.error().message;
    return passed && valid.ok();
  };

  bool held = false;
  ASSERT_TRUE(attempt(0, held));
  const std::uint64_t length = stepper.count;
  ASSERT_GT(length, 50U);
  const std::uint64_t stops_max = rounds(150);
  const std::uint64_t stride = length / stops_max + 1;
  std::uint64_t stops = 0;
  for (std::uint64_t k = 1 + test_seed() % stride; k <= length; k += stride) {
    if (!attempt(k, held)) break;
    stops += held ? 1U : 0U;
  }
  std::printf("%s: %llu instructions, held at %llu of them\n", what.name, static_cast<unsigned long long>(length),
              static_cast<unsigned long long>(stops));
  EXPECT_GE(stops, std::min<std::uint64_t>(length, stops_max) / 3);
  sigaction(SIGTRAP, &before, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Operations, Parked, ::testing::Range<std::size_t>(0, std::size(cases)), [](const auto& which) {
  std::string name = cases[which.param].name;
  for (char& c : name) c = c == ' ' ? '_' : c;
  return name;
});

TEST(ParkedScan, APinCopiedWhileAScanIsHeldIsNotMissed) {
  // The scan is held between a free pin slot and the last one; meanwhile the pin on a retired entry is copied from the last to
  // the free one and dropped. The scan saw the free slot too early and sees the last one too late.
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  Semaphore copied;
  Worker victim(held_or_done), holder(copied);
  std::uint64_t stops = 0;
  for (std::uint64_t k = 1;; k += 20) {
    Typed<Tracked> t(small_options(32 << 10));
    t.put("k", Tracked(1, 42));
    t.put("spacer", Tracked(2, 2));
    Pin first, last;
    std::vector<Pin> spacers;
    const std::function<void()> take = [&] {
      first = t.find("spacer");
      while (spacers.size() + 2 < pins_per_thread()) spacers.push_back(t.find("spacer"));
      last = t.find("k");
      first.reset();
    };
    holder.start(take);
    ASSERT_TRUE(copied.wait_bounded());
    t.erase("k");
    stepper.count = 0;
    stepper.hold_at = k;
    stepper.holding = false;
    const std::function<void()> scan = [&] {
      step_on();
      t.table->drain();
      step_off();
    };
    victim.start(scan);
    ASSERT_TRUE(held_or_done.wait_bounded());
    const bool held = stepper.holding.load();
    if (held) {
      ++stops;
      const std::function<void()> copy = [&] {
        first = last.duplicate();
        last.reset();
      };
      holder.start(copy);
      ASSERT_TRUE(copied.wait_bounded());
      go_on.post();
      ASSERT_TRUE(held_or_done.wait_bounded());
      ASSERT_EQ(t.value(first).mark, Tracked::alive) << "held at instruction " << k;
      ASSERT_EQ(t.value(first).version, 42U);
    }
    const std::function<void()> drop = [&] {
      first.reset();
      last.reset();
      spacers.clear();
    };
    holder.start(drop);
    ASSERT_TRUE(copied.wait_bounded());
    t.table->drain();
    ASSERT_EQ(t.table->stats().retired_bytes, 0U);
    EXPECT_VALID(*t.table);
    if (!held) break;
  }
  EXPECT_GT(stops, 10U);
  sigaction(SIGTRAP, &before, nullptr);
}

// The harness itself: a thread held with a spin lock taken is noticed.
TEST(ParkedHarness, WouldNoticeALock) {
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  std::atomic<bool> lock{false};
  const auto locked_section = [&lock](unsigned tries_max) {
    while (lock.exchange(true, std::memory_order_acquire)) {
      if (tries_max-- == 0) return false;
    }
    for (volatile int i = 0; i < 50;) {
      const int next = i + 1;
      i = next;
    }
    lock.store(false, std::memory_order_release);
    return true;
  };
  Worker victim(held_or_done);
  stepper.count = 0;
  stepper.hold_at = 60;
  stepper.holding = false;
  const std::function<void()> stepped = [&] {
    step_on();
    static_cast<void>(locked_section(1));
    step_off();
  };
  victim.start(stepped);
  ASSERT_TRUE(held_or_done.wait_bounded());
  ASSERT_TRUE(stepper.holding.load());
  EXPECT_FALSE(locked_section(1000)) << "the held thread keeps the lock";
  go_on.post();
  ASSERT_TRUE(held_or_done.wait_bounded());
  EXPECT_TRUE(locked_section(1000));
  sigaction(SIGTRAP, &before, nullptr);
}

}  // namespace
}  // namespace tiercache::l1::test
