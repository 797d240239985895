// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/l1/profile.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <thread>
#include <unordered_map>

namespace tiercache::l1::test {
namespace {

/// The hit ratios of an LRU of every size, exactly: reuse distances in bytes over the whole stream.
class ExactLru {
 public:
  explicit ExactLru(std::size_t accesses) : tree_(accesses + 1) {}

  void access(std::uint64_t key, std::uint64_t bytes) {
    const std::size_t now = ++time_;
    const auto [known, fresh] = last_.try_emplace(key, now);
    if (!fresh) {
      distances_.push_back(sum(now) - sum(known->second) + bytes);
      add(known->second, std::uint64_t{0} - bytes);
      known->second = now;
    }
    add(now, bytes);
  }
  [[nodiscard]] double hit_ratio(std::uint64_t capacity) {
    if (sorted_ != distances_.size()) std::sort(distances_.begin(), distances_.end()), sorted_ = distances_.size();
    const auto fit = std::upper_bound(distances_.begin(), distances_.end(), capacity) - distances_.begin();
    return static_cast<double>(fit) / static_cast<double>(time_);
  }

 private:
  void add(std::size_t at, std::uint64_t bytes) {
    for (; at < tree_.size(); at += at & (0 - at)) tree_[at] += bytes;
  }
  [[nodiscard]] std::uint64_t sum(std::size_t at) const {
    std::uint64_t total = 0;
    for (; at != 0; at &= at - 1) total += tree_[at];
    return total;
  }
  std::vector<std::uint64_t> tree_;
  std::unordered_map<std::uint64_t, std::size_t> last_;
  std::vector<std::uint64_t> distances_;
  std::size_t time_ = 0;
  std::size_t sorted_ = 0;
};

class Zipf {
 public:
  Zipf(std::size_t keys, double exponent) : cumulative_(keys) {
    double sum = 0;
    for (std::size_t i = 0; i < keys; ++i) cumulative_[i] = sum += std::pow(static_cast<double>(i + 1), -exponent);
  }
  [[nodiscard]] std::uint64_t operator()(std::mt19937_64& random) const {
    const double at = std::uniform_real_distribution<double>(0, cumulative_.back())(random);
    return static_cast<std::uint64_t>(std::lower_bound(cumulative_.begin(), cumulative_.end(), at) - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

/// A profile, and an exact LRU beside it.
struct Watched {
  static constexpr std::uint64_t capacity = 8 << 20;
  static constexpr double average_bytes = 1087.5;
  std::uint64_t accesses = 0;
  std::uint64_t seed;
  Profile profile;
  ExactLru exact;

  Watched(std::uint64_t test_seed, std::size_t accesses_max, double rate_max, std::uint32_t half_life = 1U << 31)
      : seed(mix64(test_seed)), exact(accesses_max) {
    ProfileOptions o;
    o.capacity_bytes = capacity;
    o.memory_max_bytes = 1 << 20;
    o.rate_max = rate_max;
    o.curve_half_life = half_life;
    o.accesses = [](const void* context) noexcept { return static_cast<const Watched*>(context)->accesses; };
    o.accesses_context = this;
    if (!profile.create(o) || !profile.enabled()) std::abort();
  }
  [[nodiscard]] std::uint64_t hash(std::uint64_t key) const { return mix64(key ^ seed); }
  /// Sizes from 64 to 2111 bytes, of the key.
  [[nodiscard]] std::uint64_t bytes(std::uint64_t key) const { return 64 + mix64(key) % 2048; }
  void access(std::uint64_t key) {
    ++accesses;
    profile.found(0, "k", hash(key), bytes(key));
    exact.access(key, bytes(key));
  }
  /// The greatest error of a ratio among the sizes that hold so many sampled keys, where sizes are taken to be `slack` inexact.
  [[nodiscard]] double error(double sampled_keys, double slack = 0) {
    const double least = sampled_keys * average_bytes / profile.stats().rate;
    double worst = -1;
    for (const MissCurvePoint& p : profile.miss_curve()) {
      const auto size = static_cast<double>(p.capacity_bytes);
      if (size < least) continue;
      const double low = exact.hit_ratio(static_cast<std::uint64_t>(size * (1 - slack)));
      const double high = exact.hit_ratio(static_cast<std::uint64_t>(size * (1 + slack)));
      worst = std::max({worst, 0.0, low - p.hit_ratio, p.hit_ratio - high});
    }
    EXPECT_GE(worst, 0) << "no size holds so many";
    return worst;
  }
  /// At so many times the capacity.
  [[nodiscard]] double hit_ratio(double factor) {
    for (const MissCurvePoint& p : profile.miss_curve()) {
      if (static_cast<double>(p.capacity_bytes) >= factor * capacity - 1) return p.hit_ratio;
    }
    return -1;
  }
};

TEST(MissCurve, IsThatOfAnExactLruForAZipfStreamOfMixedSizes) {
  std::mt19937_64 random(test_seed());
  constexpr std::size_t n = 1'000'000;
  Watched w(random(), n, 1.0 / 16);
  const Zipf zipf(100'000, 0.9);
  for (std::size_t i = 0; i < n; ++i) w.access(zipf(random));
  EXPECT_GE(w.profile.stats().sampled_keys, 1000U);
  EXPECT_LE(w.error(1000), 0.05);
  EXPECT_LE(w.error(0), 0.15) << "where a few dozen keys decide";
  const auto curve = w.profile.miss_curve();
  ASSERT_EQ(curve.size(), 65U);
  EXPECT_EQ(curve[32].capacity_bytes, Watched::capacity);
  EXPECT_EQ(curve.front().capacity_bytes, Watched::capacity / 16);
  EXPECT_EQ(curve.back().capacity_bytes, Watched::capacity * 16);
  for (std::size_t i = 1; i < curve.size(); ++i) {
    EXPECT_GT(curve[i].capacity_bytes, curve[i - 1].capacity_bytes);
    EXPECT_GE(curve[i].hit_ratio, curve[i - 1].hit_ratio);
  }
  EXPECT_GT(curve.back().hit_ratio, curve.front().hit_ratio + 0.2) << "a stream on which the size matters";
}

TEST(MissCurve, IsThatOfAnExactLruForALoopMixedWithAScan) {
  std::mt19937_64 random(test_seed());
  constexpr std::size_t n = 1'000'000;
  Watched w(random(), n, 1.0 / 16);
  const Zipf zipf(20'000, 0.8);
  for (std::uint64_t i = 0; i < n; ++i) {
    switch (i % 4) {
      case 0: w.access(1'000'000 + i / 4 % 30'000); break;  // around and around
      case 1: w.access(10'000'000 + i); break;              // once each
      default: w.access(zipf(random));
    }
  }
  // The loop is a cliff of the curve: there, a small error of the size is a great one of the ratio.
  EXPECT_LE(w.error(1000, 0.07), 0.05);
}

TEST(MissCurve, StaysTrueWhileTheRateSinksUntilTheKeysFit) {
  std::mt19937_64 random(test_seed());
  constexpr std::size_t n = 1'000'000;
  Watched w(random(), n, 1);
  const Zipf zipf(100'000, 0.9);
  for (std::size_t i = 0; i < n; ++i) {
    w.access(zipf(random));
    if (i % 10'000 != 0) continue;
    ASSERT_LE(w.profile.stats().sampled_keys, 8192U);
  }
  const ProfileStats stats = w.profile.stats();
  EXPECT_LT(stats.rate, 0.2);
  EXPECT_GE(stats.sampled_keys, 1000U);
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_LE(w.profile.table_bytes(), 1U << 20);
  EXPECT_LE(w.error(1000), 0.05);
  EXPECT_LE(w.error(0), 0.15) << "where a few dozen keys decide";
}

TEST(MissCurve, FollowsAWorkloadThatChangesItsSize) {
  const std::uint64_t seed = test_seed();
  Watched w(seed, 1 << 22, 1, 20'000);
  // About 1.1 KB an entry: 2,000 keys are a quarter of the capacity, 30,000 four times it.
  for (std::uint64_t i = 0; i < 500'000; ++i) w.access(i % 2'000);
  EXPECT_GT(w.hit_ratio(0.5), 0.95);
  EXPECT_LT(w.hit_ratio(0.1), 0.1) << "a loop that does not fit misses always";
  for (std::uint64_t i = 0; i < 1'000'000; ++i) w.access(1'000'000 + i % 30'000);
  EXPECT_LT(w.hit_ratio(1), 0.1);
  EXPECT_GT(w.hit_ratio(8), 0.95);
  for (std::uint64_t i = 0; i < 1'000'000; ++i) w.access(i % 2'000);
  EXPECT_GT(w.hit_ratio(0.5), 0.95);
}

TEST(MissCurve, TheRateRisesAgainWhenTheKeysBecomeFew) {
  Watched w(test_seed(), 400'000, 1);
  for (std::uint64_t i = 0; i < 400'000; ++i) w.access(i);
  EXPECT_LT(w.profile.stats().rate, 0.2);
  // Keys so large that a hundred are more than any size of the curve: there is nothing else to follow.
  for (std::uint64_t i = 0; i < 2'000'000; ++i) w.profile.found(0, "k", w.hash(1'000'000 + i % 500), 2 << 20);
  EXPECT_EQ(w.profile.stats().rate, 1);
}

TEST(MissCurve, CountsAHotKeyWhetherOrNotItIsSampled) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t hot = 0; hot < 8; ++hot) {
    Watched w(seed, 400'000, 0.5);
    for (std::uint64_t i = 0; i < 400'000; ++i) w.access(i % 2 == 0 ? hot : 1'000'000 + i);
    EXPECT_NEAR(w.hit_ratio(1.0 / 16), 0.5, 0.05) << "key " << hot;
  }
}

TEST(MissCurve, CountsRepeatedAccessesAlsoWithoutTheOwnersTotal) {
  const std::uint64_t seed = test_seed();
  Profile profile;
  ProfileOptions o;
  o.capacity_bytes = 8 << 20;
  o.rate_max = 1;
  ASSERT_TRUE(profile.create(o));
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const bool hot = i % 4 != 0;
    profile.found(0, "k", mix64((hot ? 1 : 1000 + i % 2000) ^ seed), hot ? 100 : 64 << 10);  // the others are a loop of 32 MiB
  }
  EXPECT_NEAR(profile.miss_curve().at(0).hit_ratio, 0.75, 0.02);
}

TEST(MissCurve, AKeyThatIsRemovedMissesAtAnySize) {
  const std::uint64_t seed = test_seed();
  Watched w(seed, 400'000, 1);
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    const std::uint64_t key = i % 1000;
    w.access(key);
    if (key % 2 == 0) w.profile.removed(w.hash(key));
  }
  EXPECT_NEAR(w.hit_ratio(16), 0.5, 0.05);
}

TEST(MissCurve, TakesTheSizeOfAMissedKeyFromWhatIsStoredThen) {
  const std::uint64_t seed = test_seed();
  Watched w(seed, 1, 1);
  // 1,000 keys of 32 KiB are about 31 MiB: four capacities do, three do not.
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    ++w.accesses;
    w.profile.missed(w.hash(i % 1000));
    w.profile.stored(w.hash(i % 1000), 32 << 10);
  }
  EXPECT_LT(w.hit_ratio(3), 0.05);
  EXPECT_GT(w.hit_ratio(4.5), 0.9);
}

/// A profile that takes every hit.
struct HotProfile {
  Profile profile;
  explicit HotProfile(std::uint32_t hit_interval, std::uint32_t half_life = 16384) {
    ProfileOptions o;
    o.capacity_bytes = 64 << 20;
    o.hit_interval = hit_interval;
    o.hot_half_life = half_life;
    if (!profile.create(o) || !profile.enabled()) std::abort();
    detail::tls_sampling.gap = 1;  // the thread may be far into a gap of an earlier test
  }
  void hit(std::uint16_t view, const std::string& key) { profile.found(view, key, local_hash(key, view), 100); }
  [[nodiscard]] std::set<std::string> top(std::uint32_t k) {
    std::set<std::string> keys;
    for (const KeyHeat& heat : profile.hottest(k)) keys.insert(heat.key);
    return keys;
  }
};

TEST(HotKeys, AreTheTrueTopOfAZipfStream) {
  std::mt19937_64 random(test_seed());
  HotProfile p(8, 65536);
  const Zipf zipf(100'000, 1.0);
  constexpr std::uint64_t n = 1'000'000;
  for (std::uint64_t i = 0; i < n; ++i) p.hit(3, "key:" + std::to_string(zipf(random)));
  const std::set<std::string> top = p.top(10);
  EXPECT_EQ(top.size(), 10U);
  unsigned found = 0;
  for (unsigned i = 0; i < 10; ++i) found += static_cast<unsigned>(top.count("key:" + std::to_string(i)));
  EXPECT_GE(found, 9U);
  unsigned of_64 = 0;
  const std::set<std::string> top_64 = p.top(64);
  for (unsigned i = 0; i < 64; ++i) of_64 += static_cast<unsigned>(top_64.count("key:" + std::to_string(i)));
  EXPECT_GE(of_64, 54U);
  const auto heats = p.profile.hottest(64);
  ASSERT_EQ(heats.size(), 64U);
  EXPECT_EQ(heats[0].key, "key:0");
  EXPECT_EQ(heats[0].view, 3);
  EXPECT_FALSE(heats[0].truncated);
  EXPECT_NEAR(heats[0].share, 1 / 12.1, 0.02) << "1 / the 100,000th harmonic number";
  for (std::size_t i = 1; i < heats.size(); ++i) EXPECT_LE(heats[i].share, heats[i - 1].share);
}

TEST(HotKeys, AreForgottenWhenTheHeatMovesOn) {
  std::mt19937_64 random(test_seed());
  HotProfile p(1, 10'000);
  const Zipf zipf(10'000, 1.0);
  for (int i = 0; i < 200'000; ++i) p.hit(0, "old:" + std::to_string(zipf(random)));
  EXPECT_TRUE(p.top(10).contains("old:0"));
  for (int i = 0; i < 100'000; ++i) p.hit(0, "new:" + std::to_string(zipf(random)));
  for (const std::string& key : p.top(10)) EXPECT_TRUE(key.starts_with("new:")) << key;
}

TEST(HotKeys, TellViewsApartAndLongKeysToo) {
  HotProfile p(1);
  const std::string same(64, 'x');
  for (int i = 0; i < 1000; ++i) {
    p.hit(1, "42");
    p.hit(2, "42");
    p.hit(2, same);
    p.hit(2, same + "a");
    p.hit(2, same + "b");
    p.hit(2, std::string("\0binary", 7));
    p.hit(2, "");
  }
  std::multiset<std::tuple<unsigned, std::string, bool>> got;
  for (const KeyHeat& heat : p.profile.hottest(100)) {
    got.emplace(heat.view, heat.key, heat.truncated);
    EXPECT_NEAR(heat.share, 1.0 / 7, 0.02);
  }
  const std::multiset<std::tuple<unsigned, std::string, bool>> expected = {{1, "42", false},
                                                                           {2, "42", false},
                                                                           {2, same, false},
                                                                           {2, same, true},
                                                                           {2, same, true},
                                                                           {2, "", false},
                                                                           {2, std::string("\0binary", 7), false}};
  EXPECT_EQ(got, expected);
}

TEST(Profile, FitsTheMemoryItIsGivenOrIsOff) {
  for (std::uint64_t memory = 1 << 10; memory <= 4 << 20; memory += memory / 3) {
    Profile profile;
    ProfileOptions o;
    o.capacity_bytes = memory * 64;
    o.rate_max = 1;
    o.hit_interval = 1;
    ASSERT_TRUE(profile.create(o));
    EXPECT_LE(profile.table_bytes(), memory);
    EXPECT_EQ(profile.enabled(), profile.table_bytes() != 0);
    EXPECT_TRUE(profile.enabled() || memory < 48 << 10) << memory;
    for (std::uint64_t i = 0; i < 10'000; ++i) {
      profile.found(0, "key", mix64(i), 100);
      profile.missed(mix64(i));
      profile.stored(mix64(i), 100);
      profile.removed(mix64(i));
    }
    profile.drain();
    EXPECT_EQ(profile.miss_curve().empty(), !profile.enabled());
    EXPECT_EQ(profile.hottest(10).empty(), !profile.enabled());
    EXPECT_EQ(profile.stats().samples != 0, profile.enabled());
  }
}

TEST(Profile, SaysNothingBeforeItSawAnything) {
  Watched w(test_seed(), 1, 1);
  EXPECT_TRUE(w.profile.miss_curve().empty());
  EXPECT_TRUE(w.profile.hottest(10).empty());
}

// Four threads feed, one reads the reports, until enough was processed. Nothing is torn, nothing grows.
TEST(Profile, TakesManyThreadsAtOnce) {
  const std::uint64_t seed = test_seed();
  constexpr std::uint64_t enough = 100'000;
  Profile profile;
  ProfileOptions o;
  o.capacity_bytes = 8 << 20;
  o.memory_max_bytes = 1 << 20;
  o.rate_max = 1;
  o.hit_interval = 2;
  ASSERT_TRUE(profile.create(o));
  std::atomic<bool> done{false};
  std::vector<std::thread> feeders;
  for (unsigned t = 0; t < 4; ++t) {
    feeders.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      const Zipf zipf(20'000, 1.0);
      for (std::uint64_t i = 0; !done; ++i) {
        const std::string key = std::to_string(zipf(random));
        const std::uint64_t hash = local_hash(key, seed);
        profile.found(0, key, hash, 200);
        if (i % 64 == 0) profile.stored(hash, 200);
        if (i % 1024 == 0) profile.removed(local_hash(std::to_string(random() % 20'000), seed));
      }
    });
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!done) {
    const auto curve = profile.miss_curve();
    for (std::size_t i = 1; i < curve.size(); ++i) EXPECT_GE(curve[i].hit_ratio, curve[i - 1].hit_ratio);
    for (const KeyHeat& heat : profile.hottest(10)) {
      EXPECT_LE(heat.share, 1);
      EXPECT_LT(std::strtoul(heat.key.c_str(), nullptr, 10), 20'000U) << "a torn key";
    }
    const ProfileStats stats = profile.stats();
    EXPECT_LE(stats.sampled_keys, 8192U);
    if (stats.samples > enough || std::chrono::steady_clock::now() > deadline) done = true;
  }
  for (std::thread& t : feeders) t.join();
  EXPECT_GT(profile.stats().samples, enough);
  EXPECT_EQ(profile.hottest(1).at(0).key, "0");
  EXPECT_GT(profile.miss_curve().at(64).hit_ratio, 0.5);
}

// A thread is stopped while it processes: here inside the owner's counter. The others feed on and drain without waiting; a
// report gives up. When the thread goes on, so does the profile.
TEST(Profile, AThreadStoppedWhileItProcessesStopsNoOther) {
  struct Gate {
    std::atomic<bool> shut{false};
    std::atomic<bool> inside{false};
    static std::uint64_t pass(const void* context) noexcept {
      auto* gate = static_cast<Gate*>(const_cast<void*>(context));
      if (gate->shut) gate->inside = true;
      while (gate->shut) std::this_thread::yield();
      return 0;
    }
  } gate;
  Profile profile;
  ProfileOptions o;
  o.capacity_bytes = 8 << 20;
  o.rate_max = 1;
  o.accesses = &Gate::pass;
  o.accesses_context = &gate;
  ASSERT_TRUE(profile.create(o));
  for (std::uint64_t i = 0; i < 1000; ++i) profile.found(0, "key", mix64(i), 100);
  gate.shut = true;
  std::thread stopped([&] { static_cast<void>(profile.miss_curve()); });
  while (!gate.inside) std::this_thread::yield();
  for (std::uint64_t i = 0; i < 100'000; ++i) profile.found(0, "key", mix64(i), 100);
  profile.drain();
  EXPECT_TRUE(profile.miss_curve().empty());
  gate.shut = false;
  stopped.join();
  const ProfileStats stats = profile.stats();
  EXPECT_GT(stats.lost, 90'000U);
  EXPECT_GT(stats.samples, 1000U);
  EXPECT_FALSE(profile.hottest(1).empty());
}

}  // namespace
}  // namespace tiercache::l1::test
