// SPDX-License-Identifier: Apache-2.0
//
// What the facade adds to a hit: the view, the coherence check and the clock.
#include "l1_rows.hpp"
#include "ours.hpp"
#include "peers.hpp"
#include "subject.hpp"

#include <tiercache/tiercache.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

namespace tiercache::bench {
namespace {

struct PodCodec {
  static constexpr std::uint8_t id = 200;
  static void encode(const Value& v, std::string& out) { out.append(reinterpret_cast<const char*>(&v), sizeof v); }
  static std::optional<Value> decode(std::string_view bytes) {
    Value v{};
    if (bytes.size() != sizeof v) return std::nullopt;
    std::memcpy(&v, bytes.data(), sizeof v);
    return v;
  }
};

constexpr std::uint32_t keys = 10'000;
constexpr EntryCost room{512};  // more than either needs: the question is what a hit costs, not what fits

Store open() {
  Config config;
  config.l2.enabled = false;
  config.l1.capacity_bytes = keys * std::uint64_t{room.bytes};
  config.l1.expected_entry_bytes = room.bytes;
  Result<Store> store = Store::open(config);
  if (!store) throw std::runtime_error(store.error().message);
  return std::move(*store);
}

}  // namespace

void facade_rows(const Arguments& arguments, Report& report) {
  const std::string row = "l1.facade.zipf.10k.1t";
  if (!arguments.wants(row)) return;
  attempt(report, row, [&] {
    Store store = open();
    auto view = store.cache<Value, PodCodec>("v", {.ttl = std::chrono::hours(24)});
    for (std::uint32_t k = 0; k < keys; ++k) static_cast<void>(view.put(request_of(k).key(), value_of(k)));
    const auto table = std::make_shared<Ours>(keys, room);
    for (std::uint32_t k = 0; k < keys; ++k) table->put(request_of(k).key(), value_of(k));
    Ids ids;  // what found its place in both
    for (std::uint32_t k = 0; k < keys; ++k) {
      const Request r = request_of(k);
      table->read(r.key(), [&](const Value&) {
        if (view.get(r.key())) ids.push_back(k);
      });
    }
    if (static_cast<double>(ids.size()) < keys * (1 - absent_allowed)) throw std::runtime_error("too few keys found a place");
    const Streams streams = make_streams(ids, 0.99, std::size_t{1} << 16, 1);

    std::vector<Contender> contenders{{"ours", [&] {
                                         return read_rate(streams, 1, arguments.seconds, Access::in_place,
                                                          [&](const Request& r, auto&& f) {
                                                            if (const auto h = view.get(r.key())) f(r, *h);
                                                          });
                                       }}};
    const auto add = [&](const char* peer, auto s) {
      contenders.push_back({peer, [&, s] {
                              return read_rate(streams, 1, arguments.seconds, Access::in_place, [&](const Request& r, auto&& f) {
                                s->read(r.key(), [&](const Value& v) { f(r, v); });
                              });
                            }});
    };
    add("l1_find", table);
    for_each_map([&](auto tag, const char* peer) {
      auto s = std::make_shared<typename decltype(tag)::type>(keys);
      for (std::uint32_t k = 0; k < keys; ++k) s->put(request_of(k).key(), value_of(k));
      add(peer, s);
    });
    report.compare({.name = row, .unit = "Mops/s", .threads = 1, .workload = "zipf 0.99, 10k"},
                   interleave(contenders, arguments.rounds), "ours", Better::higher, 1e-6);
  });
}

}  // namespace tiercache::bench
