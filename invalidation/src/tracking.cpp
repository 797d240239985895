// SPDX-License-Identifier: Apache-2.0
#include "tracking.hpp"

#include <tiercache/base/lab.hpp>
#include <tiercache/invalidation/message.hpp>

#include <charconv>
#include <cstdio>

namespace tiercache::invalidation {
namespace {

using Type = l2::Reply::Type;

void bump(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

Tracking::Tracking(const TrackingOptions& options, BusSink& sink) : options_(options), sink_(sink) {
  char origin[24];
  std::snprintf(origin, sizeof origin, "%016llx", static_cast<unsigned long long>(options_.origin));
  const std::size_t bus = options_.prefix.size() + std::string_view("!bus").size();
  for (std::size_t i = 0; i < options_.channels.size(); ++i) {
    own_beats_.emplace(options_.prefix + "!hb" + options_.channels[i].substr(bus) + ":" + origin, static_cast<ShardId>(i));
  }
  claims_.resize(options_.channels.size());
  told_.reserve(claims_.size());
}

void Tracking::begin(l2::Connection& link) {
  for (auto& claim : claims_) claim.reset();  // what came back on the last link says nothing about this one
  kept_back_ = 0;
  stalled_since_.reset();
  asked_ = true;
  link.append({"CLIENT", "TRACKING", "ON", "REDIRECT", link.client_id(), "BCAST", "PREFIX", options_.prefix});
}

Tracking::Taken Tracking::take(const l2::Reply& reply) {
  if (asked_) {  // the first reply of a link
    asked_ = false;
    if (reply.type == Type::error) return Taken::refused;
    return reply.type == Type::status ? Taken::yes : Taken::broken;
  }
  const auto& parts = reply.elements;
  if (reply.type != Type::array || parts.size() != 3 || parts[1].type != Type::string || parts[1].text != channel)
    return Taken::no;
  if (parts[0].text == "subscribe") return Taken::yes;
  if (parts[0].text != "message") return Taken::broken;
  switch (parts[2].type) {
    case Type::array: return take_keys(parts[2].elements) ? Taken::yes : Taken::broken;
    case Type::nil: return take_flush(), Taken::flushed;
    case Type::string: return bump(counters_.malformed), Taken::yes;  // somebody's PUBLISH; Redis itself sends no text here
    default: return Taken::broken;
  }
}

bool Tracking::take_keys(const std::vector<l2::Reply>& keys) {
  bump(counters_.messages);
  told_.clear();
  for (const l2::Reply& key : keys) {
    if (key.type != Type::string) return false;
    if (key.text.size() <= options_.prefix.size() || !key.text.starts_with(options_.prefix)) continue;
    if (key.text[options_.prefix.size()] == '!') {  // bookkeeping: leases, numbers, heartbeats
      if (const auto own = own_beats_.find(key.text); own != own_beats_.end()) told_.push_back(own->second);
      continue;
    }
    if (key.text.size() > key_bytes_max) continue;
    if (const auto shard = shard_of(key.text)) {
      bump(counters_.keys);
      sink_.on_invalidate(*shard, key.text, 0, 0, 0);
    }
  }
  for (const ShardId shard : told_) release(shard);  // not before the last key: they are of one turn, in no order
  return true;
}

void Tracking::take_flush() noexcept {
  bump(counters_.flushes);
  if (lab::ablated(lab::Remedy::generation)) return;
  for (std::size_t i = 0; i < claims_.size(); ++i) sink_.on_gap(static_cast<ShardId>(i), GapReason::flushed);
}

void Tracking::release(ShardId shard) noexcept {
  stalled_since_.reset();
  auto& claim = claims_[shard];
  if (!claim) return;
  --kept_back_;
  sink_.on_coherent(shard, *claim);
  claim.reset();
}

bool Tracking::stalled(SteadyTime now) noexcept {
  if (kept_back_ == 0) return stalled_since_.reset(), false;
  if (!stalled_since_) stalled_since_ = now;
  return now - *stalled_since_ > options_.budget / 2;
}

std::optional<ShardId> Tracking::shard_of(std::string_view key) const noexcept {
  key.remove_prefix(options_.prefix.size());
  const std::size_t colon = key.find(':');
  if (colon == key.npos) return std::nullopt;
  if (!options_.channels.front().ends_with('}')) return ShardId{0};
  key.remove_prefix(colon + 1);
  if (!key.starts_with('{')) return std::nullopt;
  unsigned shard = 0;
  const auto [end, error] = std::from_chars(key.data() + 1, key.data() + key.size(), shard, 16);
  if (error != std::errc() || end == key.data() + key.size() || *end != '}' || shard >= claims_.size()) return std::nullopt;
  return static_cast<ShardId>(shard);
}

void Tracking::on_invalidate(ShardId shard, std::string_view key, std::uint64_t version, std::uint64_t origin,
                             std::uint64_t write_id) noexcept {
  if (options_.source == Source::both) sink_.on_invalidate(shard, key, version, origin, write_id);
}
void Tracking::on_clear(ShardId shard, std::string_view type, std::uint64_t origin, std::uint64_t write_id) noexcept {
  sink_.on_clear(shard, type, origin, write_id);
}
void Tracking::on_gap(ShardId shard, GapReason reason) noexcept { sink_.on_gap(shard, reason); }
void Tracking::on_epoch(ShardId shard, std::uint64_t epoch) noexcept { sink_.on_epoch(shard, epoch); }

void Tracking::on_wake(ShardId shard, std::string_view key) noexcept { sink_.on_wake(shard, key); }

void Tracking::on_applied(ShardId shard, std::uint64_t epoch, std::uint64_t sequence) noexcept {
  if (options_.source == Source::both) sink_.on_applied(shard, epoch, sequence);
}

/// A gap in between takes nothing back: what is older than the gap is void, and the claim holds for what is younger.
void Tracking::on_coherent(ShardId shard, SteadyTime until) noexcept {
  if (lab::ablated(lab::Remedy::tracking)) return sink_.on_coherent(shard, until);
  if (!claims_[shard]) ++kept_back_;
  claims_[shard] = until;
}

}  // namespace tiercache::invalidation
