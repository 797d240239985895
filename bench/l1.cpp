// SPDX-License-Identifier: Apache-2.0
//
// Hits in L1: through the facade, in the table itself, in the maps that a C++ service would use instead, and over a floor that
// has no concurrency control at all. Equal work for all: the same keys (20 bytes), values (128 bytes), order of reads, flags and
// allocator; every read looks at the first and the last byte of the value and checks that it is the key's.
#include "harness.hpp"

#include <tiercache/tiercache.hpp>

#include <benchmark/benchmark.h>
#include <tbb/concurrent_hash_map.h>
#include <libcuckoo/cuckoohash_map.hh>

#include <emmintrin.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace tiercache::bench {
namespace {

constexpr unsigned seed = 20231;
__extension__ using Wide = unsigned __int128;

struct Value {
  std::uint64_t first;
  std::array<char, 112> body;
  std::uint64_t last;
};
static_assert(sizeof(Value) == 128);
Value value_of(std::uint64_t key) { return {key, {}, ~key}; }

struct PodCodec {
  static constexpr std::uint8_t id = 200;
  static void encode(const Value& v, std::string& out) { out.append(reinterpret_cast<const char*>(&v), sizeof v); }
  static std::optional<Value> decode(std::string_view bytes) {
    Value v{};
    if (bytes.size() != sizeof v) return std::nullopt;
    std::memcpy(&v, bytes.data(), sizeof v);
    return v;
  }
};

/// Keys and the order in which a thread asks for them.
class Workload {
 public:
  Workload(std::size_t keys, double theta) : keys_(keys), order_(2) {
    names_.reserve(keys);
    std::array<char, 24> text{};
    for (std::size_t i = 0; i < keys; ++i) {
      std::snprintf(text.data(), text.size(), "user:%015zu", i);
      names_.emplace_back(text.data());
    }
    std::vector<double> cumulative(keys);
    double sum = 0;
    for (std::size_t i = 0; i < keys; ++i)
      cumulative[i] = sum += theta == 0 ? 1 : 1 / std::pow(static_cast<double>(i + 1), theta);
    std::vector<std::uint32_t> rank(keys);  // popularity is not the order of insertion
    for (std::size_t i = 0; i < keys; ++i) rank[i] = static_cast<std::uint32_t>(i);
    std::shuffle(rank.begin(), rank.end(), std::mt19937(seed));
    for (std::size_t t = 0; t < order_.size(); ++t) {
      std::mt19937_64 rng(seed + t);
      std::uniform_real_distribution<double> uniform(0, sum);
      order_[t].resize(1U << 20);
      for (std::uint32_t& k : order_[t])
        k = rank[static_cast<std::size_t>(std::lower_bound(cumulative.begin(), cumulative.end(), uniform(rng)) -
                                          cumulative.begin())];
    }
  }
  [[nodiscard]] std::size_t keys() const { return keys_; }
  [[nodiscard]] const std::string& name(std::size_t i) const { return names_[i]; }
  [[nodiscard]] const std::vector<std::uint32_t>& order(int thread) const {
    return order_[static_cast<std::size_t>(thread) % order_.size()];
  }

 private:
  std::size_t keys_;
  std::vector<std::string> names_;
  std::vector<std::vector<std::uint32_t>> order_;
};

// Each structure: put(key, value); read(key, f) calls f(const Value&) on a hit.

std::uint64_t budget_for(std::size_t keys) { return 16_MiB + keys * 640; }

struct Facade {
  explicit Facade(std::size_t keys)
      : store(open(keys)), view(store.cache<Value, PodCodec>("v", {.ttl = std::chrono::hours(24)})) {}
  static Store open(std::size_t keys) {
    Config config;
    config.l2.enabled = false;
    config.l1.capacity_bytes = budget_for(keys);
    Result<Store> store = Store::open(config);
    if (!store) throw std::runtime_error(store.error().message);
    return std::move(*store);
  }
  void put(std::string_view key, const Value& v) { static_cast<void>(view.put(key, v)); }
  template <class F>
  void read(std::string_view key, F&& f) {
    if (const auto h = view.get(key)) f(*h);
  }
  Store store;
  Cache<Value, PodCodec> view;
};

struct Table {
  explicit Table(std::size_t keys) {
    l1::Options options;
    options.capacity_bytes = budget_for(keys);
    auto made = l1::Table::create(options);
    if (!made) throw std::runtime_error(made.error().message);
    table = std::move(*made);
    view = *table->add_view(l1::type_ops<Value>());
  }
  void put(std::string_view key, Value v) {
    static_cast<void>(table->put(view, key, table->hash(view, key), &v, {.generation = 1}));
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    if (const l1::Pin pin = table->find(view, key, table->hash(view, key), 1, now)) f(*static_cast<const Value*>(pin.value()));
  }
  std::unique_ptr<l1::Table> table;
  l1::ViewId view = 0;
  std::int64_t now = coarse_now_ms();
};

struct Hash {
  std::size_t operator()(std::string_view key) const noexcept { return XXH3_64bits(key.data(), key.size()); }
  // what tbb asks for
  static std::size_t hash(const std::string& key) { return XXH3_64bits(key.data(), key.size()); }
  static bool equal(const std::string& a, const std::string& b) { return a == b; }
};

struct Cuckoo {
  explicit Cuckoo(std::size_t keys) : map(keys) {}
  void put(const std::string& key, const Value& v) { map.insert(key, v); }
  template <class F>
  void read(const std::string& key, F&& f) {
    map.find_fn(key, f);
  }
  libcuckoo::cuckoohash_map<std::string, Value, Hash> map;
};

struct Tbb {
  explicit Tbb(std::size_t keys) : map(keys) {}
  void put(const std::string& key, const Value& v) { map.insert({key, v}); }
  template <class F>
  void read(const std::string& key, F&& f) {
    tbb::concurrent_hash_map<std::string, Value, Hash>::const_accessor it;
    if (map.find(it, key)) f(it->second);
  }
  tbb::concurrent_hash_map<std::string, Value, Hash> map;
};

/// What many services have today: an unordered_map and a list under a mutex, 64 times.
struct ShardedLru {
  explicit ShardedLru(std::size_t) {}
  struct alignas(64) Shard {
    std::mutex mutex;
    std::list<std::pair<std::string, Value>> list;
    std::unordered_map<std::string_view, std::list<std::pair<std::string, Value>>::iterator, Hash> map;
  };
  Shard& shard(std::string_view key) { return shards[Hash{}(key) >> 58]; }
  void put(const std::string& key, const Value& v) {
    Shard& s = shard(key);
    const std::lock_guard lock(s.mutex);
    s.list.emplace_front(key, v);
    s.map[s.list.front().first] = s.list.begin();
  }
  template <class F>
  void read(const std::string& key, F&& f) {
    Shard& s = shard(key);
    const std::lock_guard lock(s.mutex);
    const auto it = s.map.find(key);
    if (it == s.map.end()) return;
    s.list.splice(s.list.begin(), s.list, it->second);
    f(it->second->second);
  }
  std::array<Shard, 64> shards;
};

/// The least a hit can cost: hash, one bucket line of 8 tagged pointers, one entry, key compare. No concurrency control, no
/// expiry.
struct Floor {
  explicit Floor(std::size_t keys) : buckets(keys / 2 + 64) {}
  struct Entry {
    std::uint32_t key_bytes;
    char key[20];
    Value value;
  };
  struct alignas(64) Bucket {
    std::uint64_t slots[8]{};
  };
  static std::uint64_t tag(std::uint64_t h) { return (h & 0xffff) | 1; }
  Bucket& bucket(std::uint64_t h) { return buckets[static_cast<std::size_t>((static_cast<Wide>(h) * buckets.size()) >> 64)]; }
  void put(std::string_view key, const Value& v) {
    const std::uint64_t h = Hash{}(key);
    entries.push_back(std::make_unique<Entry>());
    Entry& e = *entries.back();
    e.key_bytes = static_cast<std::uint32_t>(key.size());
    std::memcpy(e.key, key.data(), key.size());
    e.value = v;
    for (std::uint64_t& slot : bucket(h).slots)
      if (slot == 0) {
        slot = tag(h) << 48 | reinterpret_cast<std::uintptr_t>(&e);
        return;
      }
    ++lost;  // a full bucket: its key is not found, and the check below would say so
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    const std::uint64_t h = Hash{}(key);
    const Bucket& b = bucket(h);
    const __m128i want = _mm_set1_epi64x(static_cast<long long>(tag(h)));
    int mask = 0;
    for (int i = 0; i < 4; ++i) {
      const __m128i tags = _mm_srli_epi64(_mm_load_si128(reinterpret_cast<const __m128i*>(&b.slots[2 * i])), 48);
      mask |= _mm_movemask_pd(_mm_castsi128_pd(_mm_shuffle_epi32(_mm_cmpeq_epi32(tags, want), 0xA0))) << (2 * i);
    }
    for (; mask != 0; mask &= mask - 1) {
      const auto* e = reinterpret_cast<const Entry*>(b.slots[__builtin_ctz(static_cast<unsigned>(mask))] & 0xffffffffffffULL);
      if (e->key_bytes == key.size() && std::memcmp(e->key, key.data(), key.size()) == 0) return f(e->value);
    }
  }
  std::vector<Bucket> buckets;
  std::vector<std::unique_ptr<Entry>> entries;
  std::uint64_t lost = 0;
};

template <class S>
void reads(benchmark::State& state, S& structure, const Workload& workload, std::uint64_t allowed_misses) {
  const std::vector<std::uint32_t>& order = workload.order(state.thread_index());
  std::size_t i = 0;
  std::uint64_t hits = 0;
  std::uint64_t wrong = 0;
  std::uint64_t asked = 0;
  for (auto _ : state) {
    const std::uint32_t k = order[i++ & (order.size() - 1)];
    ++asked;
    structure.read(workload.name(k), [&](const Value& v) {
      ++hits;
      wrong += v.first != k || v.last != ~std::uint64_t{k} ? 1 : 0;
    });
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(asked));
  if (wrong != 0) state.SkipWithError("a read returned another key's value");
  if (asked - hits > allowed_misses + asked / 200) state.SkipWithError("more than 0.5 % of the reads missed");
}

template <class S>
void add(const std::string& workload_name, const std::string& structure, const std::shared_ptr<const Workload>& workload,
         int threads) {
  // Filled when its first repetition starts; shared by the repetitions.
  auto made = std::make_shared<std::unique_ptr<S>>();
  auto once = std::make_shared<std::once_flag>();
  auto* b = benchmark::RegisterBenchmark((workload_name + "/" + structure).c_str(), [=](benchmark::State& state) {
    std::call_once(*once, [&] {
      *made = std::make_unique<S>(workload->keys());
      for (std::size_t k = 0; k < workload->keys(); ++k) (*made)->put(workload->name(k), value_of(k));
    });
    reads(state, **made, *workload, 0);
  });
  b->Threads(threads)->UseRealTime();
}

}  // namespace
}  // namespace tiercache::bench

int main(int argc, char** argv) {
  using namespace tiercache::bench;
  for (const auto& [name, keys, threads] :
       {std::tuple{"10k.1t", std::size_t{10'000}, 1}, {"10k.2t", 10'000, 2}, {"1M.1t", 1'000'000, 1}, {"1M.2t", 1'000'000, 2}}) {
    const auto workload = std::make_shared<const Workload>(keys, 0.99);
    const std::string get = std::string("l1.get.zipf.") + name;
    add<Table>(get, "ours", workload, threads);
    add<Floor>(get, "floor", workload, threads);
    add<Cuckoo>(get, "libcuckoo", workload, threads);
    add<Tbb>(get, "tbb", workload, threads);
    add<ShardedLru>(get, "sharded_lru", workload, threads);
    if (threads == 1) {
      const std::string facade = std::string("l1.facade.zipf.") + name;
      add<Facade>(facade, "ours", workload, threads);
      add<Table>(facade, "l1_find", workload, threads);
      add<Cuckoo>(facade, "libcuckoo", workload, threads);
      add<Tbb>(facade, "tbb", workload, threads);
    }
  }
  return run_suite("l1", argc, argv);
}
