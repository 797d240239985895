// SPDX-License-Identifier: Apache-2.0
#include "campaign.hpp"

#include "clock.hpp"

#include <algorithm>
#include <numeric>

namespace tiercache::chaos {

Campaign::Campaign(Field& field, const Board& board, FaultSet kinds)
    : field_(field),
      board_(board),
      random_(board.settings().seed + 77),
      recovery_(board.settings().instances, board.settings().budget_ns / 10 * 7),  // a reconnect's longest wait, two heartbeats
      lanes_{LaneState{Bag(kinds, Lane::redis), {}, 0}, LaneState{Bag(kinds, Lane::instance), {}, 0},
             LaneState{Bag(kinds, Lane::instance), {}, 0}} {}

template <class F>
void Campaign::for_met(const Fault& fault, F&& f) const {
  const bool everyone = info(fault.kind).lane == Lane::redis || !info(fault.kind).lasts || fault.kind == FaultKind::output_buffer;
  for (unsigned i = 0; i < board_.settings().instances; ++i) {
    if (everyone || i == fault.target) f(i);
  }
}

bool Campaign::redis_answers() const noexcept { return !lanes_[0].fault || Field::redis_answers(*lanes_[0].fault); }

bool Campaign::takes(unsigned instance) const noexcept {
  return std::none_of(lanes_.begin() + 1, lanes_.end(),
                      [&](const LaneState& l) { return l.fault && l.fault->target == instance; });
}

void Campaign::turn(std::int64_t now) {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    LaneState& lane = lanes_[i];
    if (lane.fault) {
      const bool asks = info(lane.fault->kind).asks_redis && i != 0;
      if (asks && !redis_answers()) continue;
      if (field_.turn(*lane.fault, now)) over(lane, demo::now_ns());
    } else if (!winding_down_ && now >= lane.next && !lane.bag.empty()) {
      start(lane, i == 0, now);
    }
  }
  observe(demo::now_ns());
}

void Campaign::start(LaneState& lane, bool on_redis, std::int64_t now) {
  // What holds Redis up must not begin while a fault of an instance is still to send commands.
  const bool commands_to_come =
      std::any_of(lanes_.begin() + 1, lanes_.end(), [](const LaneState& l) { return l.fault && info(l.fault->kind).asks_redis; });
  const auto kind = lane.bag.draw(random_, [&](FaultKind k) {
    if (on_redis) return !commands_to_come;
    return !info(k).asks_redis || (!lanes_[0].fault && redis_answers());
  });
  if (!kind) return;
  Fault fault;
  fault.kind = *kind;
  if (!on_redis) {
    do fault.target = static_cast<unsigned>(random_.below(board_.settings().instances));
    while (!takes(fault.target));
  }
  lane.fault = fault;
  for_met(fault, [&](unsigned i) { recovery_.fault_began(i); });
  log_.push_back({fault.kind, fault.target, now, 0});
  field_.begin(*lane.fault, now);
}

void Campaign::over(LaneState& lane, std::int64_t now) {
  const Fault fault = *lane.fault;
  lane.fault.reset();
  if (!fault.void_) ++counts_[static_cast<std::size_t>(fault.kind)];
  if (!fault.void_ && fault.verified) ++verified_[static_cast<std::size_t>(fault.kind)];
  else lane.bag.put_back(fault.kind);
  for_met(fault, [&](unsigned i) { recovery_.fault_ended(i, fault.kind, now); });
  for (Entry& e : log_) {
    if (e.ended == 0 && e.kind == fault.kind && e.target == fault.target) e.ended = now;
  }
  std::erase_if(log_, [&](const Entry& e) { return e.ended != 0 && now - e.ended > 60 * demo::ns_per_s; });
  const bool redis = info(fault.kind).lane == Lane::redis;
  const std::int64_t budget = board_.settings().budget_ns;
  lane.next = now + (redis ? budget : budget / 2) + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(budget)));
  if (redis && field_.losing()) losses_from_ = now;
}

void Campaign::observe(std::int64_t now) {
  const auto blocks = board_.instances();
  bool all_since_losses = true;
  for (unsigned i = 0; i < blocks.size(); ++i) {
    const std::int64_t since = blocks[i].coherent_since.load();
    recovery_.observe(i, since, blocks[i].seen.load());
    // Valid without a break from before the loss to after it proves nothing yet: a budget later it does.
    all_since_losses = all_since_losses && since != 0 && blocks[i].seen.load() > losses_from_ + board_.settings().budget_ns;
  }
  if (field_.losing() && !lanes_[0].fault && all_since_losses) field_.losses_noticed();
  // Recovery is late only while nothing that Redis suffers now keeps it from coming.
  if (!lanes_[0].fault) longest_ = std::max(longest_, recovery_.longest_pending(now));
}

bool Campaign::quiet() const noexcept {
  for (const LaneState& lane : lanes_) {
    if (lane.fault) return false;
  }
  for (unsigned i = 0; i < board_.settings().instances; ++i) {
    if (recovery_.pending(i)) return false;
  }
  return !field_.losing();
}

std::uint64_t Campaign::total() const noexcept { return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0}); }

std::string Campaign::text() const {
  std::string text;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (!lanes_[i].fault) continue;
    text += text.empty() ? "" : ", ";
    text += info(lanes_[i].fault->kind).name;
    if (i != 0) text += " " + std::to_string(lanes_[i].fault->target);
  }
  return text;
}

}  // namespace tiercache::chaos
