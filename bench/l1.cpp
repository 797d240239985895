// SPDX-License-Identifier: Apache-2.0
//
// L1 beside the maps and caches that a C++ service would use instead, and over a floor that has no concurrency control at all.
// Equal work for all: the same keys (20 bytes), values (128 bytes), order of requests, hash, flags and allocator; every read
// looks at the first and the last word of the value and checks that they are the key's.
#include "l1_rows.hpp"
#include "peers.hpp"

#include <cstdio>
#include <thread>

int main(int argc, char** argv) {
  using namespace tiercache::bench;
  const Arguments arguments = parse("l1", argc, argv);
  Report report("l1", {
                          {"l1.get.zipf.10k.1t", "floor", 0.75},
                          {"l1.get.zipf.10k.1t", "boost", 1.4},
                          {"l1.get.zipf.10k.1t", "libcuckoo", 2.5},
                          {"l1.get.zipf.10k.1t", "sharded_lru", 4},
                          {"l1.get.zipf.10k.2t", "floor", 0.75},
                          {"l1.get.zipf.10k.2t", "boost", 1.4},
                          {"l1.get.zipf.10k.2t", "libcuckoo", 2.5},
                          {"l1.get.zipf.10k.2t", "sharded_lru", 4},
                          {"l1.get.zipf.1M.1t", "floor", 0.75},
                          {"l1.get.zipf.1M.1t", "boost", 1.2},
                          {"l1.get.zipf.1M.1t", "libcuckoo", 1.7},
                          {"l1.get.zipf.1M.1t", "sharded_lru", 5},
                          {"l1.get.zipf.1M.2t", "floor", 0.75},
                          {"l1.get.zipf.1M.2t", "boost", 1.2},
                          {"l1.get.zipf.1M.2t", "libcuckoo", 1.7},
                          {"l1.get.zipf.1M.2t", "sharded_lru", 5},
                          {"l1.get.uniform.1M.2t", "floor", 0.75},
                          {"l1.get.uniform.1M.2t", "boost", 1.2},
                          {"l1.get.uniform.1M.2t", "libcuckoo", 1.7},
                          {"l1.get.uniform.1M.2t", "sharded_lru", 5},
                          {"l1.get_copy.zipf.1M.2t", "floor", 0.85},
                          {"l1.get.zipf.10M.2t", "floor", 0.75},
                          {"l1.get.zipf.10M.2t", "boost", 1.3},
                          {"l1.get_many16.zipf.1M.2t", "floor_batch", 0.75},
                          {"l1.get_many16.zipf.1M.2t", "l1_get", 2.0},
                          {"l1.get.hot1.2t", "l1_1t", 1.9},
                          {"l1.mixed95.zipf.1M.2t", "sharded_lru", 4},
                          {"l1.mixed95.zipf.1M.2t", "hyper_clock_cache", 2.0},
                          {"l1.mixed50.zipf.1M.2t", "sharded_lru", 4},
                          {"l1.mixed50.zipf.1M.2t", "hyper_clock_cache", 1.6},
                          {"l1.mixed95.hit_ratio", "", 0.82},
                          {"l1.mixed50.hit_ratio", "", 0.82},
                          {"l1.oversub8.get.p9999", "boost", 1.5},
                          {"l1.oversub8.get.p9999", "libcuckoo", 500},
                          {"l1.oversub8.get.p9999", "hyper_clock_cache", 1},
                          {"l1.oversub8.put.p9999", "boost", 100},
                          {"l1.oversub8.put.p9999", "libcuckoo", 300},
                          {"l1.oversub8.put.p9999", "hyper_clock_cache", 0.5},
                          {"l1.overhead_bytes", "sharded_lru", 2.5},
                          {"l1.facade.zipf.10k.1t", "l1_find", 0.6},
                          {"floor.check.floor_boost", "boost", 1.5},
                          {"floor.check.boost_libcuckoo", "libcuckoo", 1.2},
                      });
  std::fprintf(stderr, "bench l1: %u cores; a dot is one round of all structures\n", std::thread::hardware_concurrency());
  name_missing_peers();
  read_rows(arguments, report);
  mixed_rows(arguments, report);
  latency_rows(arguments, report);
  facade_rows(arguments, report);
  std::fputc('\n', stderr);
  return report.finish(arguments.out);
}
