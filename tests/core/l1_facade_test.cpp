// SPDX-License-Identifier: Apache-2.0
//
// What a store does with its L1 beyond reading and writing: idle ttl, quotas, another size, the machine's memory, the workload.
#include "instances.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

namespace tiercache::testing {
namespace {

namespace fs = std::filesystem;

Config l1_only(std::uint64_t capacity = 4_MiB) {
  Config config;
  config.l2.enabled = false;
  config.l1.capacity_bytes = capacity;
  config.l1.expected_entry_bytes = 64;
  config.log_level = LogLevel::off;
  return config;
}

Store open(const Config& config) {
  Result<Store> store = Store::open(config);
  EXPECT_TRUE(store.ok()) << store.error().message;
  return std::move(store).value();
}

std::string name_of(std::uint64_t i) { return "key:" + std::to_string(i); }

/// Reads `key` all the while, until `time` passed; false if the machine ever kept it from reading for as long as `gap_max`.
template <class View>
bool read_for(View& view, const std::string& key, std::chrono::milliseconds time, std::chrono::milliseconds gap_max) {
  auto last = std::chrono::steady_clock::now();
  const auto end = last + time;
  while (last < end) {
    std::this_thread::sleep_for(1ms);  // a poll: only gaps that are too long matter, and those are told
    static_cast<void>(view.get(key));
    const auto now = std::chrono::steady_clock::now();
    if (now - last > gap_max) return false;
    last = now;
  }
  return true;
}

TEST(IdleTtl, ValuesNobodyReadsLeaveL1AndReadOnesStay) {
  Store store = open(l1_only());
  auto view = store.cache<int>("n", {.ttl = 1h, .l1_idle_ttl = 1s});
  const bool judged = eventually([&] {
    EXPECT_TRUE(view.put("read", 1).ok());
    EXPECT_TRUE(view.put("idle", 2).ok());
    return read_for(view, "read", 1200ms, 500ms);
  });
  ASSERT_TRUE(judged) << "the machine never let this thread read for long enough";
  EXPECT_TRUE(view.get("read"));
  EXPECT_FALSE(view.get("idle"));
}

TEST(IdleTtl, ValuesFromRedisAreFetchedAnewWhenNobodyReadThem) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 60s;
  Instance a(config);
  auto view = a.store().cache<int>("idle", {.ttl = 1h, .l1_idle_ttl = 200ms});
  ASSERT_TRUE(view.put("k", 1).ok());
  a.wait_coherent();
  ASSERT_TRUE(eventually([&] { return view.get("k").source() == Source::l1; }));
  const auto last_read = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] { return std::chrono::steady_clock::now() - last_read > 400ms; }));
  const auto h = view.get("k");
  ASSERT_TRUE(h);
  EXPECT_EQ(h.source(), Source::l2);
}

TEST(Quota, AViewEvictsItsOwnAndLeavesOthersTheirs) {
  Store store = open(l1_only());
  auto bounded = store.cache<int>("bounded", {.l1_quota_bytes = 256_KiB});
  auto other = store.cache<int>("other");
  for (std::uint64_t i = 0; i < 2'000; ++i) ASSERT_TRUE(other.put(name_of(i), 1).ok());
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < 50'000; ++i) refused += bounded.put(name_of(i), 2).ok() ? 0 : 1;
  EXPECT_LT(refused, 5'000U);
  const ViewStats s = bounded.stats();
  EXPECT_EQ(s.l1_quota_bytes, 256_KiB);
  EXPECT_LE(s.l1_bytes, 256_KiB + 1024);
  EXPECT_GT(s.l1_bytes, 200_KiB);
  for (std::uint64_t i = 0; i < 2'000; ++i) EXPECT_TRUE(other.get(name_of(i))) << i;
  EXPECT_EQ(other.stats().l1_quota_bytes, 0U);
}

TEST(ViewOptions, BadOnesOfL1AreNamed) {
  Store store = open(l1_only());
  const std::pair<const char*, ViewOptions> cases[] = {{"l1_idle_ttl", {.l1_idle_ttl = -1ms}},
                                                       {"l1_idle_ttl", {.l1_idle_ttl = 50 * 24h}},
                                                       {"l1_quota_bytes", {.l1_quota_bytes = 5_MiB}}};
  for (const auto& [field, options] : cases) {
    auto view = store.cache<int>("v", options);
    ASSERT_NE(view.error(), nullptr) << field;
    EXPECT_EQ(view.error()->code, Errc::invalid_argument);
    EXPECT_NE(view.error()->message.find(field), std::string::npos) << view.error()->message;
  }
}

TEST(Resize, HoldsUnderLoad) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Config config = l1_only(8_MiB);
  config.l1.expected_entry_bytes = 256;  // the tables are made for the largest
  config.l1.resize_max_bytes = 16_MiB;
  Store store = open(config);
  auto view = store.cache<std::uint64_t>("n", {.ttl = 1h});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      while (!stop.load(std::memory_order_relaxed)) {
        const std::uint64_t k = random() % 200'000;
        const std::string key = name_of(k);
        if (const auto h = view.get(key)) {
          if (*h != k) ++wrong;
        } else {
          static_cast<void>(view.put(key, k));
        }
      }
    });
  }
  for (const std::uint64_t bytes : {7_MiB, 16_MiB, 6_MiB, 8_MiB, 12_MiB, 6_MiB}) {
    const Result<void> r = store.resize_l1(bytes);
    EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
    EXPECT_EQ(store.stats().l1.capacity_bytes, bytes);
    EXPECT_EQ(store.stats().l1_configured_bytes, bytes);
    const std::uint64_t inserts = store.stats().l1.inserts;
    EXPECT_TRUE(eventually([&] { return store.stats().l1.inserts > inserts + 20'000; }));
    EXPECT_LE(store.stats().l1.used_bytes, bytes + bytes / 100);
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0U);
  const Result<void> valid = store.validate();
  EXPECT_TRUE(valid.ok()) << (valid.ok() ? "" : valid.error().message);
}

TEST(Resize, RefusesWhatCannotBeAndAfterTheEnd) {
  Store store = open(l1_only());
  for (const std::uint64_t bytes : {0_KiB, 4_MiB + 1}) {
    const Result<void> r = store.resize_l1(bytes);
    ASSERT_FALSE(r.ok()) << bytes;
    EXPECT_EQ(r.error().code, Errc::invalid_argument);
    EXPECT_EQ(store.stats().l1_configured_bytes, 4_MiB);
  }
  store.close(1s);
  EXPECT_EQ(store.resize_l1(3_MiB).error().code, Errc::closed);
  Store moved = std::move(store);
  EXPECT_EQ(store.resize_l1(3_MiB).error().code, Errc::closed);  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_TRUE(store.hottest(1).empty() && store.coldest(1).empty() && store.miss_curve().empty());
}

/// Values that make entries of 256 bytes, beside which the tables are small: a table cannot be less than twice those.
using Blob = std::array<char, 190>;
Config roomy(const l1::PressureOptions& pressure) {
  Config config = l1_only();
  config.l1.expected_entry_bytes = 256;
  config.l1_pressure = pressure;
  return config;
}

/// A machine's memory files in a folder of their own.
class Memory {
 public:
  Memory() {
    std::string name = (fs::temp_directory_path() / "tiercache-memory-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    root_ = name;
    write("proc/self/cgroup", "0::/svc\n");
    write("cgroup/svc/memory.max", "100000000\n");
    write("cgroup/svc/memory.stat", "inactive_file 0\n");
    write("cgroup/svc/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    used(0);
  }
  ~Memory() { fs::remove_all(root_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void used(std::uint64_t bytes) const { write("cgroup/svc/memory.current", std::to_string(bytes) + "\n"); }
  [[nodiscard]] l1::PressureOptions options() const {
    l1::PressureOptions o;
    o.enabled = true;
    o.period = 10ms;
    o.shrink_step = 0.25;
    o.grow_step = 0.25;
    o.floor = 0.5;
    o.cgroup_root = (root_ / "cgroup").string();
    o.proc_root = (root_ / "proc").string();
    return o;
  }

 private:
  /// Renamed into place, so that a reader sees the old content or the new.
  void write(const std::string& path, const std::string& content) const {
    const fs::path target = root_ / path;
    fs::create_directories(target.parent_path());
    const fs::path fresh = target.string() + ".new";
    std::ofstream(fresh, std::ios::binary) << content;
    fs::rename(fresh, target);
  }
  fs::path root_;
};

bool has_thread(std::string_view name) {
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string comm;
    std::getline(file, comm);
    if (comm == name) return true;
  }
  return false;
}

TEST(Pressure, L1ShrinksToItsFloorAndComesBack) {
  const Memory memory;
  Store store = open(roomy(memory.options()));
  auto view = store.cache<Blob>("n");
  for (std::uint64_t i = 0; i < 60'000; ++i) static_cast<void>(view.put(name_of(i), {}));
  EXPECT_GT(store.stats().l1.used_bytes, 3_MiB);
  EXPECT_EQ(store.stats().l1.capacity_bytes, 4_MiB);

  memory.used(99'000'000);
  ASSERT_TRUE(eventually([&] { return store.stats().l1.capacity_bytes == 2_MiB; }));
  ASSERT_TRUE(eventually([&] { return store.stats().l1.used_bytes <= 2_MiB + 2_MiB / 100; }));
  EXPECT_EQ(store.stats().l1_configured_bytes, 4_MiB);
  EXPECT_TRUE(view.put("k", {}).ok());
  EXPECT_TRUE(view.get("k"));

  memory.used(1'000);
  ASSERT_TRUE(eventually([&] { return store.stats().l1.capacity_bytes == 4_MiB; }));
  EXPECT_TRUE(has_thread("tc-mem"));
  store.close(1s);
  EXPECT_TRUE(eventually([] { return !has_thread("tc-mem"); }));  // a thread that was joined may be listed for a moment yet
}

TEST(Pressure, LeavesAShareOfWhatResizeAsksFor) {
  const Memory memory;
  Config config = roomy(memory.options());
  config.l1_pressure.floor = 0.75;
  config.l1.resize_max_bytes = 8_MiB;
  Store store = open(config);
  memory.used(99'000'000);
  ASSERT_TRUE(eventually([&] { return store.stats().l1.capacity_bytes == 3_MiB; }));
  ASSERT_TRUE(store.resize_l1(8_MiB).ok());
  EXPECT_EQ(store.stats().l1.capacity_bytes, 6_MiB);
  EXPECT_EQ(store.stats().l1_configured_bytes, 8_MiB);
  EXPECT_FALSE(store.resize_l1(9_MiB).ok());
  EXPECT_EQ(store.stats().l1_configured_bytes, 8_MiB);
}

TEST(Pressure, ForksChildEndsWithoutTheThread) {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer's runtime does not support a child of a threaded process that goes on using threads' state.
  GTEST_SKIP() << "ThreadSanitizer does not support it";
#else
  const Memory memory;
  std::optional<Store> store(open(roomy(memory.options())));
  ASSERT_TRUE(eventually([] { return has_thread("tc-mem"); }));
  const pid_t child = fork();
  if (child == 0) {
    const bool closed = !store->resize_l1(3_MiB).ok() && store->resize_l1(3_MiB).error().code == Errc::closed;
    static_cast<void>(store->stats());
    store.reset();
    _exit(closed ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(store->resize_l1(3_MiB).ok());
  store.reset();
  EXPECT_TRUE(eventually([] { return !has_thread("tc-mem"); }));
#endif
}

TEST(Pressure, SwitchedOffThereIsNoThread) {
  const Store store = open(l1_only());
  EXPECT_FALSE(has_thread("tc-mem"));
}

TEST(Workload, NamesHotAndColdKeysAndEstimatesTheHitRatio) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Store store = open(l1_only(8_MiB));
  auto users = store.cache<int>("user");
  auto orders = store.cache<int>("order");
  EXPECT_TRUE(store.stats().l1_workload.hit_ratios.empty());
  EXPECT_FALSE(store.stats().l1_workload.heat_known);

  std::mt19937_64 random(seed);
  std::uint64_t hits = 0;
  constexpr std::uint64_t reads = 1'500'000;
  for (std::uint64_t i = 0; i < reads; ++i) {
    // Half of all goes to one key, which most likely is not sampled: the curve has to be told of all accesses. The rest is spread
    // evenly over some times what fits.
    const bool hot = i % 2 == 0;
    const std::string key = hot ? "hot" : name_of(random() % 200'000);
    auto& view = hot ? users : orders;
    if (view.get(key)) {
      ++hits;
    } else {
      static_cast<void>(view.put(key, 1));
    }
  }
  const double ratio = static_cast<double>(hits) / reads;

  const auto hottest = store.hottest(5);
  ASSERT_FALSE(hottest.empty());
  EXPECT_EQ(hottest.front().view, "user");
  EXPECT_EQ(hottest.front().key, "hot");
  EXPECT_GT(hottest.front().share, 0.5);
  const auto coldest = store.coldest(5);
  ASSERT_FALSE(coldest.empty());
  EXPECT_LE(coldest.size(), 5U);
  for (const ColdKey& cold : coldest) {
    EXPECT_EQ(cold.view, "order");
    EXPECT_EQ(cold.key.rfind("key:", 0), 0U) << cold.key;
  }
  EXPECT_EQ(store.miss_curve().size(), 65U);

  const L1Workload w = store.stats().l1_workload;
  ASSERT_EQ(w.hit_ratios.size(), 5U);
  constexpr std::array factors{0.25, 0.5, 1.0, 2.0, 4.0};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(w.hit_ratios[i].factor, factors[i]);
    if (i > 0) {
      EXPECT_GE(w.hit_ratios[i].ratio, w.hit_ratios[i - 1].ratio);
    }
  }
  EXPECT_NEAR(w.hit_ratios[2].ratio, ratio, 0.12);
  EXPECT_GT(w.hit_ratios[0].ratio, 0.45) << "the hot key hits at any capacity";
  EXPECT_GT(w.hit_ratios[4].ratio, w.hit_ratios[2].ratio + 0.1);
  EXPECT_TRUE(w.heat_known);
  EXPECT_GT(w.hottest_1_share, 0.5);
  EXPECT_GE(w.hottest_10_share, w.hottest_1_share);
}

TEST(Workload, SwitchedOffIsEmpty) {
  Config config = l1_only();
  config.l1.profile = false;
  Store store = open(config);
  auto view = store.cache<int>("n");
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    const std::string key = name_of(i % 100);
    if (view.get(key)) continue;
    ASSERT_TRUE(view.put(key, 1).ok());
  }
  EXPECT_TRUE(store.hottest(5).empty());
  EXPECT_TRUE(store.miss_curve().empty());
  EXPECT_TRUE(store.stats().l1_workload.hit_ratios.empty());
}

TEST(GetMany, AnswersInOrderHoweverManyPinsTheCallerHolds) {
  Store store = open(l1_only());
  auto view = store.cache<std::uint64_t>("n");
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < 100; ++i) {
    names.push_back(name_of(i));
    if (i % 3 != 0) {
      ASSERT_TRUE(view.put(names.back(), i, {.version = i + 1}).ok());
    }
  }
  names.emplace_back("not a key");
  const std::vector<std::string_view> keys(names.begin(), names.end());
  for (const std::uint32_t held : {0U, 5U, l1::pins_per_thread()}) {
    std::vector<Handle<std::uint64_t>> before;
    for (std::uint32_t i = 0; i < held; ++i) before.push_back(view.get(names[1]));
    const ViewStats stats = view.stats();
    const auto handles = view.get_many(keys);
    ASSERT_EQ(handles.size(), keys.size());
    std::uint32_t pinned = 0;
    for (std::uint64_t i = 0; i < 100; ++i) {
      ASSERT_EQ(static_cast<bool>(handles[i]), i % 3 != 0) << i << " with " << held << " pins held";
      pinned += handles[i].pinned() ? 1 : 0;
      if (!handles[i]) continue;
      EXPECT_EQ(*handles[i], i);
      EXPECT_EQ(handles[i].version(), i + 1);
      EXPECT_EQ(handles[i].source(), Source::l1);
    }
    EXPECT_LE(pinned, l1::pins_per_thread() / 2);
    ASSERT_NE(handles.back().error(), nullptr);
    EXPECT_EQ(handles.back().error()->code, Errc::invalid_argument);
    EXPECT_EQ(view.stats().l1_hits - stats.l1_hits, 66U);
    EXPECT_EQ(view.stats().l1_misses - stats.l1_misses, 34U);
  }
  EXPECT_TRUE(view.get_many({}).empty());
}

}  // namespace
}  // namespace tiercache::testing
