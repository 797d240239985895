// SPDX-License-Identifier: Apache-2.0
#include <tiercache/tiercache.hpp>

#include <iostream>

struct User {
  std::string name;
  int age = 0;
  MSGPACK_DEFINE(name, age)
};

int main() {
  using namespace std::chrono_literals;
  using namespace tiercache::literals;
  tiercache::Config config;
  config.l1.capacity_bytes = 64_MiB;
  config.l2.url = "redis://127.0.0.1:6379";
  auto store = tiercache::Store::open(config);  // opens degraded when Redis is away
  if (!store) return std::cerr << store.error().message << '\n', 1;

  auto users = store->cache<User>("user", {.ttl = 1h});
  auto user = users.get_or_load("42", [] { return User{"Ada", 36}; });  // L1, then Redis, then this, once for the fleet
  if (user) std::cout << user->name << " is " << user->age << '\n';
  if (auto r = users.erase("42"); !r) std::cerr << r.error().message << '\n';  // after a database write: all instances forget it
}
