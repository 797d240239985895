// SPDX-License-Identifier: Apache-2.0
//
// The concurrent maps that a C++ service would use instead. They never evict. put() inserts or overwrites; read(key, f) calls
// f(const Value&) on a hit. Strings as keys, as services have them, looked up by view so that no read makes a string.
#pragma once

#include "hash.hpp"
#include "workload.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#ifdef TIERCACHE_BENCH_BOOST
#include <boost/unordered/concurrent_flat_map.hpp>
#endif
#ifdef TIERCACHE_BENCH_LIBCUCKOO
#include <libcuckoo/cuckoohash_map.hh>
#endif
#ifdef TIERCACHE_BENCH_TBB
#include <tbb/concurrent_hash_map.h>
#endif

namespace tiercache::bench {

#ifdef TIERCACHE_BENCH_BOOST
struct Boost {
  explicit Boost(std::size_t keys) : map(keys) {}
  void put(std::string_view key, const Value& v) {
    const auto assign = [&v](auto& entry) { entry.second = v; };
    if (map.visit(key, assign) == 0) map.emplace_or_visit(key, v, assign);
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    map.cvisit(key, [&f](const auto& entry) { f(entry.second); });
  }
  boost::concurrent_flat_map<std::string, Value, Hash, std::equal_to<>> map;
};
#endif

#ifdef TIERCACHE_BENCH_LIBCUCKOO
struct Cuckoo {
  explicit Cuckoo(std::size_t keys) : map(keys) {}
  void put(std::string_view key, const Value& v) {
    const auto assign = [&v](Value& to) { to = v; };
    if (!map.update_fn(key, assign)) map.upsert(std::string(key), assign, v);
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    map.find_fn(key, f);
  }
  libcuckoo::cuckoohash_map<std::string, Value, Hash, std::equal_to<>> map;
};
#endif

#ifdef TIERCACHE_BENCH_TBB
struct Tbb {
  using Map = tbb::concurrent_hash_map<std::string, Value, Hash, std::allocator<std::pair<const std::string, Value>>>;
  explicit Tbb(std::size_t keys) : map(keys) {}
  void put(std::string_view key, const Value& v) {
    Map::accessor at;
    if (!map.find(at, key)) map.insert(at, std::string(key));
    at->second = v;
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    if (Map::const_accessor at; map.find(at, key)) f(at->second);
  }
  Map map;
};
#endif

}  // namespace tiercache::bench
