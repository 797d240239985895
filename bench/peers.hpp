// SPDX-License-Identifier: Apache-2.0
//
// Which peers this build has. Those that were not found when it was configured are named in the output and have no rows.
#pragma once

#include "caches.hpp"
#include "maps.hpp"

#include <cstdio>

namespace tiercache::bench {

#ifdef TIERCACHE_BENCH_BOOST
constexpr bool has_boost = true;
#else
constexpr bool has_boost = false;
#endif
#ifdef TIERCACHE_BENCH_LIBCUCKOO
constexpr bool has_libcuckoo = true;
#else
constexpr bool has_libcuckoo = false;
#endif
#ifdef TIERCACHE_BENCH_TBB
constexpr bool has_tbb = true;
#else
constexpr bool has_tbb = false;
#endif
#ifdef TIERCACHE_BENCH_ROCKSDB
constexpr bool has_rocksdb = true;
#else
constexpr bool has_rocksdb = false;
#endif

/// A type to name in calls: for_each_map(f) calls f(Tag<Boost>{}, "boost") and so on for those that are there.
template <class S>
struct Tag {
  using type = S;
};

template <class F>
void for_each_map([[maybe_unused]] F&& f) {
#ifdef TIERCACHE_BENCH_BOOST
  f(Tag<Boost>{}, "boost");
#endif
#ifdef TIERCACHE_BENCH_LIBCUCKOO
  f(Tag<Cuckoo>{}, "libcuckoo");
#endif
#ifdef TIERCACHE_BENCH_TBB
  f(Tag<Tbb>{}, "tbb");
#endif
}

/// Their constructors take the number of entries at which they begin to evict.
template <class F>
void for_each_cache(F&& f) {
  f(Tag<ShardedLru>{}, "sharded_lru");
#ifdef TIERCACHE_BENCH_ROCKSDB
  f(Tag<HyperClock>{}, "hyper_clock_cache");
#endif
}

inline void name_missing_peers() {
  const auto say = [](bool there, const char* what) {
    if (!there) std::fprintf(stderr, "bench: not built, so without rows: %s\n", what);
  };
  say(has_boost, "boost (boost::concurrent_flat_map, Boost 1.83 or later)");
  say(has_libcuckoo, "libcuckoo");
  say(has_tbb, "tbb (tbb::concurrent_hash_map)");
  say(has_rocksdb, "hyper_clock_cache (RocksDB 7.8 or later with HyperClockCacheOptions)");
  if (has_rocksdb) {
    std::fprintf(stderr, "bench: hyper_clock_cache takes keys of 16 bytes: it gets, and compares, a 128-bit hash of each key\n");
  }
}

}  // namespace tiercache::bench
