// SPDX-License-Identifier: Apache-2.0
//
// Caches of others: bounded by a number of entries, they evict. put() and read() as in maps.hpp.
#pragma once

#include "hash.hpp"
#include "workload.hpp"

#include <algorithm>
#include <array>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

#ifdef TIERCACHE_BENCH_ROCKSDB
#include <rocksdb/cache.h>
#endif

namespace tiercache::bench {

/// What many services have today: an unordered_map and a list under a mutex, 64 times.
class ShardedLru {
 public:
  explicit ShardedLru(std::size_t capacity) : shard_capacity_(std::max<std::size_t>(1, capacity / shards_.size())) {}
  void put(std::string_view key, const Value& v) {
    Shard& s = shard(key);
    const std::lock_guard lock(s.mutex);
    if (const auto found = s.map.find(key); found != s.map.end()) {
      found->second->second = v;
      s.list.splice(s.list.begin(), s.list, found->second);
      return;
    }
    if (s.map.size() >= shard_capacity_) {
      s.map.erase(s.list.back().first);
      s.list.pop_back();
    }
    s.list.emplace_front(key, v);
    s.map.emplace(s.list.front().first, s.list.begin());
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    Shard& s = shard(key);
    const std::lock_guard lock(s.mutex);
    const auto found = s.map.find(key);
    if (found == s.map.end()) return;
    s.list.splice(s.list.begin(), s.list, found->second);
    f(found->second->second);
  }

 private:
  using List = std::list<std::pair<std::string, Value>>;
  struct alignas(64) Shard {
    std::mutex mutex;
    List list;
    std::unordered_map<std::string_view, List::iterator, Hash> map;
  };
  Shard& shard(std::string_view key) { return shards_[Hash{}(key) >> 58]; }

  std::array<Shard, 64> shards_;
  std::size_t shard_capacity_;
};

#ifdef TIERCACHE_BENCH_ROCKSDB
/// RocksDB's lock-free cache takes keys of 16 bytes only: it is given a 128-bit hash of the key and compares that. Its values are
/// on the heap.
class HyperClock {
 public:
  explicit HyperClock(std::size_t capacity)
      : cache_(rocksdb::HyperClockCacheOptions(capacity, 1, 0, false, nullptr, rocksdb::kDontChargeCacheMetadata)
                   .MakeSharedCache()) {}
  void put(std::string_view key, const Value& v) {
    const XXH128_hash_t id = XXH3_128bits(key.data(), key.size());
    // Refused only when every entry is in use; the value is freed by the deleter then, too.
    static_cast<void>(cache_->Insert(slice(id), new Value(v), 1,
                                     [](const rocksdb::Slice&, void* value) { delete static_cast<Value*>(value); }));
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    const XXH128_hash_t id = XXH3_128bits(key.data(), key.size());
    rocksdb::Cache::Handle* handle = cache_->Lookup(slice(id));
    if (handle == nullptr) return;
    f(*static_cast<const Value*>(cache_->Value(handle)));
    cache_->Release(handle);
  }

 private:
  static rocksdb::Slice slice(const XXH128_hash_t& id) { return {reinterpret_cast<const char*>(&id), sizeof id}; }
  std::shared_ptr<rocksdb::Cache> cache_;
};
#endif

}  // namespace tiercache::bench
