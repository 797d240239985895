// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <tiercache/l1/pressure.hpp>

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace tiercache::l1::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A machine's files in a folder of their own.
class Machine {
 public:
  Machine() {
    std::string name = (fs::temp_directory_path() / "tiercache-pressure-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    root_ = name;
    options.enabled = true;
    options.cgroup_root = (root_ / "cgroup").string();
    options.proc_root = (root_ / "proc").string();
  }
  ~Machine() { fs::remove_all(root_); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Renamed into place, so that a reader sees the old content or the new.
  void write(const std::string& path, const std::string& content) const {
    const fs::path target = root_ / path;
    fs::create_directories(target.parent_path());
    const fs::path fresh = target.string() + ".new";
    std::ofstream(fresh, std::ios::binary) << content;
    fs::rename(fresh, target);
  }
  void remove(const std::string& path) const { fs::remove_all(root_ / path); }
  void group(const std::string& path, const std::string& max, const std::string& current,
             const std::string& inactive = "0") const {
    const std::string folder = "cgroup" + path;
    write(folder + "/memory.max", max + "\n");
    write(folder + "/memory.high", "max\n");
    write(folder + "/memory.current", current + "\n");
    write(folder + "/memory.stat",
          "anon 4096\nfile 8192\nkernel 0\ninactive_anon 99\nactive_anon 7\ninactive_file " + inactive + "\nactive_file 5\n");
    write(folder + "/memory.pressure",
          "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  }
  [[nodiscard]] MemoryReading read() const { return read_memory(options); }

  PressureOptions options;

 private:
  fs::path root_;
};

constexpr const char* quiet = "some avg10=0.00 avg60=1.00 avg300=2.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

TEST(MemoryFiles, OwnCgroupWithItsCacheTakenOff) {
  Machine m;
  m.write("proc/self/cgroup", "0::/app.slice/web.service\n");
  m.group("/app.slice/web.service", "1073741824", "900000000", "200000000");
  m.write("cgroup/app.slice/web.service/memory.pressure",
          "some avg10=12.34 avg60=1.00 avg300=0.50 total=123456\nfull avg10=9.99");
  const MemoryReading r = m.read();
  EXPECT_EQ(r.limit_bytes, 1'073'741'824U);
  EXPECT_EQ(r.used_bytes, 700'000'000U);
  ASSERT_TRUE(r.psi_some_avg10.has_value());
  EXPECT_DOUBLE_EQ(*r.psi_some_avg10, 12.34);
}

TEST(MemoryFiles, TheLimitThatLacksMostBindsWhereverItStandsAbove) {
  Machine m;
  m.write("proc/self/cgroup", "0::/a/b/c\n");
  m.group("/a/b/c", "max", "100");
  m.group("/a/b", "1000000", "950000");    // lacks 50,000
  m.group("/a", "100000000", "95000000");  // lacks 5,000,000
  m.group("", "max", "1");
  EXPECT_EQ(m.read().limit_bytes, 100'000'000U);
  m.group("/a", "100000000", "80000000");
  EXPECT_EQ(m.read().limit_bytes, 1'000'000U);
  EXPECT_EQ(m.read().used_bytes, 950'000U);
  m.write("cgroup/a/b/c/memory.high", "90\n");
  m.group("/a/b", "1000000", "800000");
  EXPECT_EQ(m.read().limit_bytes, 90U) << "memory.high throttles before memory.max kills";
}

TEST(MemoryFiles, InAContainerTheInnerFoldersAreMissing) {
  Machine m;
  m.write("proc/self/cgroup", "0::/docker/0123456789abcdef\n");
  m.group("", "500000", "400000");
  EXPECT_EQ(m.read().limit_bytes, 500'000U);
  m.write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(m.read().limit_bytes, 500'000U);
  m.write("proc/self/cgroup", "0::/../../other\n");
  m.write("memory.max", "10\n");
  m.write("memory.current", "1000000\n");
  EXPECT_EQ(m.read().limit_bytes, 500'000U);
}

TEST(MemoryFiles, OnACgroupV1MachineOnlyTheMachinesPressureCounts) {
  Machine m;
  m.write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/user.slice\n1:cpu:/\n");
  m.write("proc/pressure/memory", "some avg10=3.50 avg60=0.00 avg300=0.00 total=0\n");
  m.write("cgroup/memory.max", "1\n");
  m.write("cgroup/memory.current", "1\n");
  EXPECT_EQ(m.read().limit_bytes, 0U);
  EXPECT_DOUBLE_EQ(m.read().psi_some_avg10.value_or(-1), 3.5);
  // Hybrid: a v2 hierarchy without controllers.
  m.write("proc/self/cgroup", "4:memory:/x\n0::/\n");
  m.remove("cgroup");
  EXPECT_EQ(m.read().limit_bytes, 0U);
  EXPECT_DOUBLE_EQ(m.read().psi_some_avg10.value_or(-1), 3.5);
}

TEST(MemoryFiles, NoFilesAtAllIsAbsence) {
  Machine m;
  EXPECT_EQ(m.read().limit_bytes, 0U);
  EXPECT_FALSE(m.read().psi_some_avg10.has_value());
}

TEST(MemoryFiles, GarbageIsAbsenceAndSparesTheOtherFiles) {
  const std::string garbage[] = {"",         "\n",
                                 "\xff\xfe", "-1\n",
                                 "12x\n",    "99999999999999999999999\n",
                                 "0x10\n",   std::string(200'000, '7'),
                                 "some\n",   std::string("\0\0\0", 3)};
  for (const std::string& bad : garbage) {
    Machine m;
    m.write("proc/self/cgroup", "0::/g\n");
    m.group("/g", "1000", "900");
    m.write("cgroup/g/memory.high", bad);
    EXPECT_EQ(m.read().limit_bytes, 1000U);
    m.write("cgroup/g/memory.stat", "inactive_file " + bad);
    EXPECT_EQ(m.read().used_bytes, 900U);
    m.write("cgroup/g/memory.stat", bad);
    EXPECT_EQ(m.read().used_bytes, 900U);
    m.write("cgroup/g/memory.pressure", "some avg10=" + bad);
    m.write("proc/pressure/memory", bad);
    const auto psi = m.read().psi_some_avg10;
    EXPECT_TRUE(!psi || (*psi >= 0 && *psi <= 100)) << *psi;
    m.write("cgroup/g/memory.max", bad);
    EXPECT_EQ(m.read().limit_bytes, 0U) << bad.substr(0, 20);
    m.group("/g", "1000", bad);
    EXPECT_EQ(m.read().limit_bytes, 0U);
    m.write("proc/self/cgroup", bad);
    EXPECT_EQ(m.read().limit_bytes, 0U);
    m.write("proc/self/cgroup", "0::/" + bad);
    static_cast<void>(m.read());
  }
  Machine m;  // a folder in the place of a file
  m.write("proc/self/cgroup/x", "");
  EXPECT_EQ(m.read().limit_bytes, 0U);
  for (const char* psi : {"some avg10=nan", "some avg10=-1", "some avg10=101", "some avg10=inf", "full avg10=5"}) {
    m.write("proc/pressure/memory", psi);
    EXPECT_FALSE(m.read().psi_some_avg10.has_value()) << psi;
  }
}

TEST(MemoryFiles, ThisMachinesAreReadWithoutHarm) {
  const MemoryReading r = read_memory(PressureOptions{});
  EXPECT_LE(r.psi_some_avg10.value_or(0), 100);
  const std::uint64_t advised = advise(1 << 30, 1 << 30, r, PressureOptions{});
  EXPECT_GE(advised, 1U << 28);
  EXPECT_LE(advised, 1U << 30);
}

TEST(PressureOptions, RefuseWhatCannotWork) {
  EXPECT_TRUE(PressureOptions{}.validate().ok());
  const auto refuses = [](const char* field, auto change) {
    PressureOptions o;
    change(o);
    const auto result = o.validate();
    ASSERT_FALSE(result.ok()) << field;
    EXPECT_EQ(result.error().code, Errc::invalid_argument);
    EXPECT_NE(result.error().message.find(field), std::string::npos) << result.error().message;
  };
  for (const double bad : {0.0, -1.0, 1.5, 1000.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    refuses("headroom", [=](PressureOptions& o) { o.headroom = bad; });
    refuses("floor", [=](PressureOptions& o) { o.floor = bad; });
    refuses("shrink_step", [=](PressureOptions& o) { o.shrink_step = bad; });
    refuses("grow_step", [=](PressureOptions& o) { o.grow_step = bad; });
    if (bad != 1.5) refuses("psi_some_avg10_max", [=](PressureOptions& o) { o.psi_some_avg10_max = bad; });
  }
  refuses("grow_step", [](PressureOptions& o) { o.grow_step = 0.06; });
  refuses("period", [](PressureOptions& o) { o.period = 9ms; });
}

struct Case {
  PressureOptions options;
  std::uint64_t configured = 0;
  std::uint64_t now = 0;
  MemoryReading reading;
};

Case any_case(std::mt19937_64& random) {
  const auto share = [&](double least, double most) { return std::uniform_real_distribution<double>(least, most)(random); };
  Case c;
  c.options.headroom = share(0.001, 0.5);
  c.options.floor = share(0.001, 1);
  c.options.shrink_step = share(0.001, 1);
  c.options.grow_step = share(0.0001, c.options.shrink_step);
  c.options.psi_some_avg10_max = share(0.1, 100);
  c.configured = 1 + (random() >> (random() % 44 + 20));
  c.now = random() % 8 == 0 ? random() : random() % (c.configured + 1);
  if (random() % 4 != 0) {
    c.reading.limit_bytes = random() >> (1 + random() % 63);
    c.reading.used_bytes =
        random() % 8 == 0 ? random() : static_cast<std::uint64_t>(static_cast<double>(c.reading.limit_bytes) * share(0, 1.1));
  }
  if (random() % 4 != 0) c.reading.psi_some_avg10 = share(0, 100);
  return c;
}

std::uint64_t floor_of(const Case& c) {
  return std::max<std::uint64_t>(static_cast<std::uint64_t>(static_cast<double>(c.configured) * c.options.floor), 1);
}

TEST(Advice, StaysBetweenTheFloorAndWhatIsConfigured) {
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 300'000; ++i) {
    const Case c = any_case(random);
    const std::uint64_t advised = advise(c.now, c.configured, c.reading, c.options);
    ASSERT_GE(advised, floor_of(c));
    ASSERT_LE(advised, c.configured);
  }
}

TEST(Advice, MorePressureNeverGivesAGreaterCapacity) {
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 300'000; ++i) {
    const Case c = any_case(random);
    Case worse = c;
    if (random() % 2 == 0 && c.reading.limit_bytes != 0) {
      worse.reading.used_bytes += random() % (~c.reading.used_bytes / 2 + 1);
    } else {
      worse.reading.psi_some_avg10 = c.reading.psi_some_avg10.value_or(0) + 5;
    }
    ASSERT_LE(advise(c.now, c.configured, worse.reading, worse.options), advise(c.now, c.configured, c.reading, c.options));
  }
}

TEST(Advice, UnderAConstantReadingGoesOneWayAndSettles) {
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 2'000; ++i) {
    Case c = any_case(random);
    c.options.grow_step = std::max(c.options.grow_step, 0.001);
    int turns = 0;
    int direction = 0;
    std::uint64_t now = std::clamp(c.now, floor_of(c), c.configured);
    int steps = 0;
    for (; steps < 5'000; ++steps) {
      const std::uint64_t next = advise(now, c.configured, c.reading, c.options);
      if (next == now) break;
      const int way = next > now ? 1 : -1;
      if (direction != 0 && way != direction) ++turns;
      direction = way;
      now = next;
    }
    ASSERT_LT(steps, 5'000);
    ASSERT_EQ(turns, 0);
  }
}

// The cache's own bytes are part of what is used: giving them up frees memory, and taking them back uses it.
TEST(Advice, SettlesWhenTheUseFollowsTheCapacity) {
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 2'000; ++i) {
    Case c = any_case(random);
    c.options.grow_step = std::max(c.options.grow_step, 0.001);
    c.configured = (1 << 20) + random() % (1ULL << 34);
    c.reading.psi_some_avg10.reset();
    c.reading.limit_bytes = (1 << 20) + random() % (1ULL << 36);
    const std::uint64_t others = random() % c.reading.limit_bytes;
    std::uint64_t now = c.configured;
    int turns = 0;
    int direction = 0;
    int steps = 0;
    for (; steps < 5'000; ++steps) {
      c.reading.used_bytes = others + now;
      const std::uint64_t next = advise(now, c.configured, c.reading, c.options);
      if (next == now) break;
      const int way = next > now ? 1 : -1;
      if (direction != 0 && way != direction) ++turns;
      direction = way;
      now = next;
    }
    ASSERT_LT(steps, 5'000);
    // A step may free more than was lacking, which is then partly taken back, step by step, but never past the headroom.
    ASSERT_LE(turns, 1);
    if (now > floor_of(c)) {
      ASSERT_LE(static_cast<double>(others + now), static_cast<double>(c.reading.limit_bytes) * (1 - c.options.headroom) + 1);
    }
  }
}

TEST(Advice, ShrinksAtOnceByWhatIsLackingAndGrowsBySmallSteps) {
  const PressureOptions o;
  constexpr std::uint64_t mib = 1 << 20;
  MemoryReading r;
  r.limit_bytes = 1000 * mib;
  r.used_bytes = 1000 * mib;  // 100 lacking
  EXPECT_EQ(advise(400 * mib, 400 * mib, r, o), 300 * mib);
  r.used_bytes = 901 * mib;  // 1 lacking: a step, 20
  EXPECT_EQ(advise(400 * mib, 400 * mib, r, o), 380 * mib);
  r.used_bytes = 2000 * mib;
  EXPECT_EQ(advise(400 * mib, 400 * mib, r, o), 100 * mib);
  r.used_bytes = 880 * mib;  // above the headroom, but not by half of it and a step
  EXPECT_EQ(advise(300 * mib, 400 * mib, r, o), 300 * mib);
  r.used_bytes = 840 * mib;
  EXPECT_EQ(advise(300 * mib, 400 * mib, r, o), 308 * mib);
  EXPECT_EQ(advise(399 * mib, 400 * mib, r, o), 400 * mib);
  r.psi_some_avg10 = 7;  // not over the maximum, but not calm
  EXPECT_EQ(advise(300 * mib, 400 * mib, r, o), 300 * mib);
  r.psi_some_avg10 = 11;
  EXPECT_EQ(advise(300 * mib, 400 * mib, r, o), 280 * mib);
  EXPECT_EQ(advise(300 * mib, 400 * mib, MemoryReading{}, o), 308 * mib) << "nothing known: no pressure";
}

TEST(PressureGuard, ShrinksToTheFloorAndComesBack) {
  Machine m;
  m.write("proc/self/cgroup", "0::/\n");
  m.write("proc/pressure/memory", quiet);
  m.group("", "1000000", "500000");
  std::vector<std::uint64_t> applied;
  PressureGuard guard(m.options, 400'000, [&](std::uint64_t capacity) { applied.push_back(capacity); });
  guard.tick();
  EXPECT_TRUE(applied.empty()) << "nothing to change";
  m.group("", "1000000", "1000000");
  guard.tick();
  EXPECT_EQ(applied, (std::vector<std::uint64_t>{300'000}));
  for (int i = 0; i < 10; ++i) guard.tick();
  EXPECT_EQ(applied.back(), 100'000U);
  EXPECT_EQ(applied.size(), 3U) << "the floor is told once";
  m.group("", "max", "1000000");
  for (int i = 0; i < 50; ++i) guard.tick();
  EXPECT_EQ(applied.back(), 400'000U);
  EXPECT_EQ(guard.capacity(), 400'000U);
}

TEST(PressureGuard, TriesAgainWhenApplyThrows) {
  Machine m;
  m.write("proc/self/cgroup", "0::/\n");
  m.group("", "1000000", "1000000");
  int calls = 0;
  PressureGuard guard(m.options, 400'000, [&](std::uint64_t) {
    if (++calls < 3) throw std::runtime_error("not now");
  });
  guard.tick();
  guard.tick();
  EXPECT_EQ(guard.capacity(), 400'000U);
  guard.tick();
  EXPECT_EQ(guard.capacity(), 300'000U);
}

bool eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(PressureGuard, ItsThreadLooksByItselfWithSignalsBlocked) {
  Machine m;
  m.options.period = 10ms;
  m.write("proc/self/cgroup", "0::/\n");
  m.group("", "1000000", "1000000");
  std::atomic<std::uint64_t> last{0};
  std::atomic<bool> blocked{false};
  std::string name;
  PressureGuard guard(m.options, 400'000, [&](std::uint64_t capacity) {
    char buffer[16] = {};
    pthread_getname_np(pthread_self(), buffer, sizeof buffer);
    name = buffer;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1;
    last = capacity;
  });
  ASSERT_TRUE(guard.start().ok());
  ASSERT_TRUE(guard.start().ok()) << "once more does nothing";
  EXPECT_TRUE(eventually([&] { return last == 100'000; }));
  m.group("", "max", "1");
  EXPECT_TRUE(eventually([&] { return last == 400'000; }));
  guard.stop();
  EXPECT_EQ(name, "tc-mem");
  EXPECT_TRUE(blocked);
  guard.stop();
  ASSERT_TRUE(guard.start().ok());
}

TEST(PressureGuard, StopsAtOnceInTheMiddleOfALongPeriod) {
  Machine m;
  m.options.period = 1h;
  m.write("proc/self/cgroup", "0::/\n");
  m.group("", "1000000", "1000000");
  std::atomic<bool> looked{false};
  PressureGuard guard(m.options, 400'000, [&](std::uint64_t) { looked = true; });
  ASSERT_TRUE(guard.start().ok());
  EXPECT_TRUE(eventually([&] { return looked.load(); }));
  const auto begin = std::chrono::steady_clock::now();
  guard.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
}

TEST(PressureGuard, DoesNotRunUnlessEnabled) {
  Machine m;
  m.options.enabled = false;
  m.write("proc/self/cgroup", "0::/\n");
  m.group("", "1000000", "1000000");
  std::thread::id thread;
  {
    PressureGuard guard(m.options, 400'000, [&](std::uint64_t) { thread = std::this_thread::get_id(); });
    ASSERT_TRUE(guard.start().ok());
    guard.tick();  // by hand it looks
  }
  EXPECT_EQ(thread, std::this_thread::get_id());
}

}  // namespace
}  // namespace tiercache::l1::test
