// SPDX-License-Identifier: Apache-2.0
//
// A program that shows its store's numbers.
#include <tiercache/metrics/endpoint.hpp>
#include <tiercache/tiercache.hpp>

#include <cstdio>
#include <vector>

int main() {
  tiercache::Config config;
  config.l2.enabled = false;
  auto store = tiercache::Store::open(config);
  if (!store) return std::fprintf(stderr, "consumer: %s\n", store.error().message.c_str()), 1;
  const auto pull = [&] { return std::vector{store->stats()}; };
  auto endpoint = tiercache::metrics::Endpoint::start({}, pull);
  if (!endpoint) return std::fprintf(stderr, "consumer: %s\n", endpoint.error().message.c_str()), 1;
  const bool good = (*endpoint)->port() != 0 && !tiercache::metrics::render_text(pull()).empty();
  return good ? 0 : 1;
}
