// SPDX-License-Identifier: Apache-2.0
//
// Two instances of a service, and a client whose requests go to either: how stale an answer may be is said by the call.
#include <tiercache/tiercache.hpp>

#include <iostream>

int main() {
  using namespace std::chrono_literals;
  using tiercache::WhenStale;
  tiercache::Config config;
  config.l2.url = "redis://127.0.0.1:6379";
  auto here = tiercache::Store::open(config);
  auto there = tiercache::Store::open(config);
  if (!here || !there) return std::cerr << "the stores could not be opened\n", 1;

  // While Redis is away this view goes on with what it has, for at most ten minutes, and says so.
  const tiercache::ViewOptions options{.ttl = 1h, .when_stale = WhenStale::serve_stale, .stale_max = 10min};
  auto prices = here->cache<int>("price", options);
  auto prices_there = there->cache<int>("price", options);

  // The write's token travels with the client, in a cookie for example; the other instance answers with this write or a later
  // one.
  const auto token = prices.put("apple", 42);
  if (!token) return std::cerr << token.error().message << '\n', 1;
  const std::string cookie = token->to_string();
  const auto carried = tiercache::WriteToken::parse(cookie);
  if (!carried) return std::cerr << carried.error().message << '\n', 1;
  if (const auto price = prices_there.get("apple", {.after = *carried}))
    std::cout << "apple costs " << *price << (price.stale() ? " (as of a while ago)\n" : "\n");

  // A decision that 50 ms may not be too late for, and that is better not made than made on old data.
  const auto price = prices_there.get("apple", {.max_staleness = 50ms, .when_stale = WhenStale::fail});
  if (price.error() != nullptr) std::cout << "not now: " << price.error()->message << '\n';
}
