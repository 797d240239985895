// SPDX-License-Identifier: Apache-2.0
//
// L1 alone, without Redis: a bounded, lock-free cache in this process.
#include <tiercache/l1/cache.hpp>

#include <iostream>
#include <string>

int main() {
  using namespace std::chrono_literals;
  namespace l1 = tiercache::l1;
  auto made =
      l1::Cache<std::string>::create({.table = {.capacity_bytes = 8 << 20, .resize_max_bytes = 16 << 20}, .idle_ttl = 10min});
  if (!made) return std::cerr << made.error().message << '\n', 1;
  auto& cache = **made;

  cache.put("greeting", "hello", 1h);
  if (const auto found = cache.get("greeting")) {  // in place: nothing is copied
    std::cout << *found << '\n';
    // Stored only if nobody changed it since it was read.
    if (cache.compare_and_swap(found, *found + ", world") == l1::PutStatus::stored) std::cout << *cache.get("greeting") << '\n';
  }
  if (cache.put_if_absent("greeting", "too late") == l1::PutStatus::unmatched) std::cout << "there already\n";
  if (auto r = cache.resize(16 << 20); !r) std::cerr << r.error().message << '\n';
  std::cout << cache.stats().entries << " entry, " << cache.stats().capacity_bytes << " bytes at most\n";
}
