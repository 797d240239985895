// SPDX-License-Identifier: Apache-2.0
//
// A program outside of ours: its own type, a store without Redis.
#include <tiercache/tiercache.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

struct User {
  std::string name;
  int age = 0;
  MSGPACK_DEFINE(name, age)
};

namespace {
void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "consumer: %s\n", what);
  std::exit(1);
}
}  // namespace

int main() {
  using namespace tiercache::literals;
  tiercache::Config config;
  config.l1.capacity_bytes = 1_MiB;
  config.l2.enabled = false;
  auto store = tiercache::Store::open(config);
  require(store.ok(), "the store does not open");
  auto users = store->cache<User>("user");
  require(!users.get("42"), "a new store has a value");
  const auto loaded = users.get_or_load("42", [] { return User{"Ada", 36}; });
  require(loaded && loaded->name == "Ada", "the loaded value does not come");
  const auto hit = users.get("42");
  require(hit && hit->age == 36 && hit.source() == tiercache::Source::l1, "the second read is no hit");
  return 0;
}
