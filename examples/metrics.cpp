// SPDX-License-Identifier: Apache-2.0
//
// A store with its metrics served on loopback: curl http://127.0.0.1:PORT/metrics and /healthz.
#include <tiercache/metrics/endpoint.hpp>
#include <tiercache/tiercache.hpp>

#include <iostream>
#include <string>
#include <vector>

int main() {
  auto config = tiercache::Config::from_env();  // REDIS_URL, REDIS_ENABLED, TIERCACHE_...
  if (!config) return std::cerr << config.error().message << '\n', 1;
  auto store = tiercache::Store::open(*config);
  if (!store) return std::cerr << store.error().message << '\n', 1;

  auto endpoint = tiercache::metrics::Endpoint::start({}, [&] { return std::vector{store->stats()}; });
  if (!endpoint) return std::cerr << endpoint.error().message << '\n', 1;
  std::cout << "http://127.0.0.1:" << (*endpoint)->port() << "/metrics  (Enter ends)\n";

  auto words = store->cache<std::string>("word");
  for (std::string line; std::getline(std::cin, line) && !line.empty();) {
    const auto length = words.get_or_load(line, [&] { return std::to_string(line.size()) + " bytes"; });
    if (length) {
      std::cout << *length << '\n';
    } else if (length.error() != nullptr) {
      std::cout << length.error()->message << '\n';
    }
  }
}
