// SPDX-License-Identifier: Apache-2.0
//
// Reads that ask more of L1, or less, than the store's budget. Out of line: what they cost, other reads do not pay.
//
// Coherent as of a means: every write acknowledged before a is applied here (Coherence). So where a read that began at t finds
// a >= t' - M, t' a clock reading after t, L1 lacks no write that was acknowledged before t - M, whatever M is.
#include "contract.hpp"

#include "hit.hpp"

#include <tiercache/base/lab.hpp>

#include <limits>

namespace tiercache::detail {

Contract::Contract(const ViewState& view, const ReadOptions& options) noexcept {
  const auto staleness = options.max_staleness.count() != 0 ? options.max_staleness : view.options.max_staleness;
  if (!lab::ablated(lab::Remedy::as_of_check)) max_staleness_ms = staleness.count();
  stale_max_ms = view.options.stale_max.count();
  when_stale = options.when_stale.value_or(view.options.when_stale);
  const WriteToken* token = options.after.get();
  if (token != nullptr && !token->empty() && !lab::ablated(lab::Remedy::applied_check)) after = token;
}

Duration Contract::join_age() const noexcept {
  if (after != nullptr) return Duration(-1);  // a fetch that began before the call may have begun before the write
  return max_staleness_ms != 0 ? std::chrono::milliseconds(max_staleness_ms) : Duration::max();
}

Contract::Verdict Contract::judge(const StoreCore& core, ShardId shard) const noexcept {
  const std::int64_t budget = core.config.bus.staleness_budget.count();
  if (!core.has_remote()) return Verdict::fresh;  // L1 is all there is
  // Without a bus nothing is known of L1, which will do for who asks for nothing.
  const bool blind = core.coherence.always_valid();
  if (blind && max_staleness_ms == 0 && after == nullptr) return Verdict::fresh;
  const std::int64_t as_of = blind ? -1 : core.coherence.as_of_ms(shard, budget);
  const std::int64_t now = steady_ms(std::chrono::steady_clock::now());  // the exact clock: 50 ms are five of the coarse one's
  const auto within = [&](std::int64_t limit) { return as_of >= 0 && now - as_of < limit; };
  const bool fresh = within(max_staleness_ms != 0 ? max_staleness_ms : budget);
  if (!fresh && when_stale == WhenStale::fail) return Verdict::refused;
  if (after != nullptr) {
    for (const WriteToken::Position& p : after->positions())
      if (p.shard == shard && !core.coherence.has_applied(shard, p.stream, p.sequence)) return Verdict::behind;
  }
  if (fresh) return Verdict::fresh;
  if (when_stale == WhenStale::serve_stale && (stale_max_ms == 0 || within(stale_max_ms))) return Verdict::stale;
  return Verdict::lapsed;
}

const char* fault(const ReadOptions& options) noexcept {
  if (options.ttl && options.ttl->count() < 0) return "ttl: must not be negative";
  if (options.max_staleness.count() < 0) return "max_staleness: must not be negative";
  return nullptr;
}

std::optional<ReadResult> View::answer_from_l1(const Contract& contract, std::string_view id, bool probed, bool pin) {
  StoreCore& core = *core_;
  const ShardId shard = core.keys.sharded() ? core.keys.shard_of(state_->name, id) : ShardId{0};
  const Contract::Verdict verdict = contract.judge(core, shard);
  ReadResult r;
  if (verdict == Contract::Verdict::behind) {
    state_->l1_behind.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  if (verdict != Contract::Verdict::fresh && !probed) state_->l1_bypassed.fetch_add(1, std::memory_order_relaxed);
  if (verdict == Contract::Verdict::lapsed) return std::nullopt;
  if (verdict == Contract::Verdict::refused) {
    core.errors.count(Errc::stale);
    r.error = Error{Errc::stale, "view " + state_->name + ": L1 is not coherent within the staleness asked for"};
    return r;
  }
  const std::uint32_t generation = core.coherence.generation(shard) + state_->clears.load(std::memory_order_acquire);
  TIERCACHE_LAB_POINT(validity_to_probe, id);
  l1::Table& table = *core.table;
  const std::uint64_t hash = table.hash(state_->l1_id, id);
  const std::int64_t now = coarse_now_ms();  // for the ttl
  // What is known to be stale is no sample of how stale L1 is unknowingly.
  const bool stale = verdict == Contract::Verdict::stale;
  const std::uint64_t shadow_mask = stale ? ~std::uint64_t{0} : shadow_mask_;
  if (pin) r.pin = table.find(state_->l1_id, id, hash, generation, now);
  if (r.pin) {
    count_hit(core, *state_, shadow_mask, id, hash, *r.pin.entry());
  } else if (!pin || l1::pins_exhausted()) {
    table.visit(state_->l1_id, id, hash, generation, now, [&](const void* value, const l1::Entry& entry) {
      r.owned = state_->ops->copy(value);
      r.version = entry.version();
      count_hit(core, *state_, shadow_mask, id, hash, entry);
    });
  }
  if (!r.has_value()) return std::nullopt;
  r.source = Source::l1;
  r.stale = stale;
  if (stale) state_->l1_stale_hits.fetch_add(1, std::memory_order_relaxed);
  return r;
}

bool View::visit_within(const Contract& contract, std::string_view id, FunctionRef<void(const l1::Entry&)> f) {
  StoreCore& core = *core_;
  const ShardId shard = core.keys.sharded() ? core.keys.shard_of(state_->name, id) : ShardId{0};
  if (core.unusable() != nullptr) return false;
  if (contract.judge(core, shard) != Contract::Verdict::fresh) {
    state_->l1_bypassed.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  const std::uint32_t generation = core.coherence.generation(shard) + state_->clears.load(std::memory_order_acquire);
  TIERCACHE_LAB_POINT(validity_to_probe, id);
  const std::uint64_t hash = core.table->hash(state_->l1_id, id);
  return core.table->visit(state_->l1_id, id, hash, generation, coarse_now_ms(), [&](const void*, const l1::Entry& entry) {
    count_hit(core, *state_, shadow_mask_, id, hash, entry);
    f(entry);
  });
}

}  // namespace tiercache::detail
