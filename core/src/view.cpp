// SPDX-License-Identifier: Apache-2.0
#include <tiercache/core/view.hpp>

#include "contract.hpp"
#include "flow.hpp"
#include "hit.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace tiercache::detail {
namespace {

ReadResult refused(Errc code, std::string message) {
  ReadResult r;
  r.error = Error{code, std::move(message)};
  return r;
}

Deadline deadline_of(const StoreCore& core, const ViewState& view, std::chrono::nanoseconds asked) {
  if (asked.count() > 0) return Deadline::after(asked);
  return Deadline::after(view.options.deadline.count() > 0 ? view.options.deadline : core.config.default_deadline);
}

/// Runs `call()` and turns want of memory, or a value's copy that throws, into an error whose text needs no memory: no call
/// throws.
template <class R, class F>
R contain(StoreCore* core, F&& call) noexcept {
  try {
    return call();
  } catch (...) {
    if (core != nullptr) core->errors.count(Errc::internal);
    if constexpr (std::is_same_v<R, ReadResult>) {
      ReadResult r;
      r.error = Error{Errc::internal, "out of memory"};
      return r;
    } else {
      return Error{Errc::internal, "out of memory"};
    }
  }
}

}  // namespace

View::View(std::shared_ptr<StoreCore> core, ViewState* state, std::optional<Error> error) noexcept
    : core_(std::move(core)),
      state_(state),
      plain_(state != nullptr && state->options.max_staleness.count() == 0 ? state : nullptr),
      shadow_mask_(core_ && core_->shadow ? std::bit_ceil(std::uint64_t{core_->config.shadow_reads}) - 1
                                          : std::numeric_limits<std::uint64_t>::max()),
      error_(std::move(error)) {}

/// What a hit must know before it probes L1. now_ms < 0: L1 may not answer.
[[gnu::always_inline]] inline View::Standing View::standing(StoreCore& core, ViewState& state, std::string_view id) noexcept {
  const ShardId shard = core.keys.sharded() ? core.keys.shard_of(state.name, id) : ShardId{0};
  const auto generation = [&] { return core.coherence.generation(shard) + state.clears.load(std::memory_order_acquire); };
#ifdef TIERCACHE_LAB
  if (lab::ablated(lab::Remedy::read_order)) {
    const std::uint32_t early = generation();
    TIERCACHE_LAB_POINT(coherence_loads, id);
    return {core.coherence.valid_now(shard), early};
  }
#endif
  // Validity (and the clock), then the generation, then the probe: see Coherence.
  const std::int64_t now = core.coherence.valid_now(shard);
  TIERCACHE_LAB_POINT(coherence_loads, id);
  if (now < 0) [[unlikely]]
    state.l1_bypassed.fetch_add(1, std::memory_order_relaxed);
  return {now, generation()};
}

l1::Held View::hold(std::string_view id) noexcept {
  ViewState* const state = plain_;
  if (state == nullptr) [[unlikely]]
    return {};
  StoreCore& core = *core_;
  l1::Table& table = *core.table;
  const l1::ViewId view = state->l1_id;
  const std::uint64_t hash = table.hash(view, id);
  table.prefetch(hash);  // the bucket is on its way while the clock is read
  const Standing standing = View::standing(core, *state, id);
  if (standing.now_ms < 0) [[unlikely]]
    return {};
  TIERCACHE_LAB_POINT(validity_to_probe, id);
  l1::Pin pin = table.find(view, id, hash, standing.generation, standing.now_ms);
  if (pin) [[likely]]
    count_hit(core, *state, shadow_mask_, id, hash, *pin.entry());
  return pin.release();
}

bool View::visit(std::string_view id, FunctionRef<void(const l1::Entry&)> f) {
  if (plain_ == nullptr) return state_ != nullptr && visit_within(Contract(*state_, {}), id, f);
  const Standing standing = View::standing(*core_, *state_, id);
  if (standing.now_ms < 0) return false;
  l1::Table& table = *core_->table;
  const std::uint64_t hash = table.hash(state_->l1_id, id);
  return table.visit(state_->l1_id, id, hash, standing.generation, standing.now_ms, [&](const void*, const l1::Entry& entry) {
    count_hit(*core_, *state_, shadow_mask_, id, hash, entry);
    f(entry);
  });
}

ReadResult View::probe_copy(std::string_view id) {
  ReadResult r;
  visit(id, [&](const l1::Entry& entry) {
    r.owned = state_->ops->copy(entry.value());
    r.version = entry.version();
    r.source = Source::l1;
  });
  return r;
}

void View::probe_many(std::span<const std::string_view> ids, std::span<ReadResult> results) {
  // A batch may be larger than what a thread may pin: the first half of that goes to the caller, the rest is copied.
  constexpr std::size_t group = l1::pins_per_thread() / 2;
  l1::Table& table = *core_->table;
  std::array<std::uint64_t, group> hashes;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled as far as it is used
  for (std::size_t begin = 0; begin < ids.size(); begin += group) {
    const std::span<const std::string_view> some = ids.subspan(begin, std::min(group, ids.size() - begin));
    std::array<l1::Pin, group> pins;
    if (core_->keys.sharded()) {
      for (std::size_t i = 0; i < some.size(); ++i) pins[i] = probe(some[i]);  // each shard has its own standing
    } else if (const Standing standing = View::standing(*core_, *state_, some.front()); standing.now_ms >= 0) [[likely]] {
      TIERCACHE_LAB_POINT(validity_to_probe, some.front());
      table.find_many(state_->l1_id, some, hashes.data(), standing.generation, standing.now_ms, pins.data());
      for (std::size_t i = 0; i < some.size(); ++i) {
        if (!pins[i]) continue;
        count_hit(*core_, *state_, shadow_mask_, some[i], hashes[i], *pins[i].entry());
      }
    } else {
      state_->l1_bypassed.fetch_add(some.size() - 1, std::memory_order_relaxed);  // standing() counted one
      continue;
    }
    const bool exhausted = l1::pins_exhausted();  // then an empty pin need not be a miss
    for (std::size_t i = 0; i < some.size(); ++i) {
      ReadResult& r = results[begin + i];
      if (pins[i]) {
        r.version = pins[i].entry()->version();
        r.source = Source::l1;
        if (begin == 0) {
          r.pin = std::move(pins[i]);
        } else {
          r.owned = state_->ops->copy(pins[i].value());
          pins[i].reset();
        }
      } else if (exhausted) {
        r = probe_copy(some[i]);
      }
    }
  }
}

ReadResult View::read(std::string_view id, const ReadOptions& options, const LoaderRef* loader) noexcept {
  return contain<ReadResult>(core_.get(), [&]() -> ReadResult {
    if (error_) return refused(error_->code, error_->message);
    if (const char* fault = id_fault(id)) return refused(Errc::invalid_argument, fault);
    if (const char* why = core_->unusable()) return refused(Errc::closed, why);
    if (const char* what = fault(options)) return refused(Errc::invalid_argument, what);
    const Contract contract(*state_, options);
    if (const bool probed = plain(options) && plain_ != nullptr; !probed || contract.when_stale != WhenStale::revalidate) {
      if (std::optional<ReadResult> r = answer_from_l1(contract, id, probed, true)) return std::move(*r);
    }
    state_->l1_misses.fetch_add(1, std::memory_order_relaxed);
    BlockingDriver driver;
    ReadCall call{*core_,
                  *state_,
                  driver,
                  id,
                  core_->keys.physical(state_->name, id),
                  core_->table->hash(state_->l1_id, id),
                  deadline_of(*core_, *state_, options.deadline),
                  options.ttl,
                  loader,
                  contract.join_age()};
    return read_flow(call).run();
  });
}

std::vector<ReadResult> View::read_many(std::span<const std::string_view> ids, const ReadOptions& options) {
  std::vector<ReadResult> results(ids.size());
  std::vector<Key> missing;
  std::vector<std::size_t> places;
  const char* closed = error_ ? nullptr : core_->unusable();
  const char* bad_option = fault(options);
  if (!error_ && bad_option == nullptr) {
    const Contract contract(*state_, options);
    if (plain(options) && plain_ != nullptr && contract.when_stale == WhenStale::revalidate) {
      probe_many(ids, results);
    } else {
      for (std::size_t i = 0; i < ids.size() && closed == nullptr; ++i) {
        if (std::optional<ReadResult> r = answer_from_l1(contract, ids[i], false, i < l1::pins_per_thread() / 2))
          results[i] = std::move(*r);
      }
    }
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (results[i].has_value() || results[i].error) continue;
    if (error_) {
      results[i] = refused(error_->code, error_->message);
    } else if (bad_option != nullptr) {
      results[i] = refused(Errc::invalid_argument, bad_option);
    } else if (const char* fault = id_fault(ids[i])) {
      results[i] = refused(Errc::invalid_argument, fault);
    } else if (closed != nullptr) {
      results[i] = refused(Errc::closed, closed);
    } else {
      state_->l1_misses.fetch_add(1, std::memory_order_relaxed);
      missing.push_back({ids[i], core_->keys.physical(state_->name, ids[i])});
      places.push_back(i);
    }
  }
  if (missing.empty()) return results;
  BlockingDriver driver;
  WriteCall call{*core_, *state_, driver, deadline_of(*core_, *state_, options.deadline), {}, 0};
  std::vector<ReadResult> fetched = read_many_flow(call, missing).run();
  for (std::size_t n = 0; n < places.size(); ++n) results[places[n]] = std::move(fetched[n]);
  return results;
}

Result<WriteToken> View::put(std::string_view id, const void* value, const WriteOptions& options) noexcept {
  return contain<Result<WriteToken>>(core_.get(), [&]() -> Result<WriteToken> {
    if (error_) return *error_;
    if (const char* fault = id_fault(id)) return Error{Errc::invalid_argument, fault};
    if (const char* why = core_->unusable()) return Error{Errc::closed, why};
    const auto ttl = options.ttl.value_or(state_->options.ttl);
    if (ttl.count() < 0) return Error{Errc::invalid_argument, "ttl: must not be negative"};
    if (Result<void> tags = check_tags(options.tags); !tags) return std::move(tags).error();
    BlockingDriver driver;
    WriteCall call{*core_, *state_, driver, deadline_of(*core_, *state_, options.deadline), ttl, options.version, options.tags};
    const Key key{id, core_->keys.physical(state_->name, id)};
    return put_flow(call, key, value).run();
  });
}

Result<WriteToken> View::erase(std::span<const std::string_view> ids, const WriteOptions& options) noexcept {
  return contain<Result<WriteToken>>(core_.get(), [&]() -> Result<WriteToken> {
    if (error_) return *error_;
    for (const std::string_view id : ids)
      if (const char* fault = id_fault(id)) return Error{Errc::invalid_argument, fault};
    if (const char* why = core_->unusable()) return Error{Errc::closed, why};
    BlockingDriver driver;
    WriteCall call{*core_, *state_, driver, deadline_of(*core_, *state_, options.deadline), {}, options.version};
    std::vector<Key> keys;
    keys.reserve(ids.size());
    for (const std::string_view id : ids) keys.push_back({id, core_->keys.physical(state_->name, id)});
    return erase_flow(call, keys).run();
  });
}

Result<WriteToken> View::update(std::string_view id, const DatabaseWriteRef& write, const WriteOptions& options) noexcept {
  return contain<Result<WriteToken>>(core_.get(), [&]() -> Result<WriteToken> {
    if (error_) return *error_;
    if (const char* fault = id_fault(id)) return Error{Errc::invalid_argument, fault};
    if (const char* why = core_->unusable()) return Error{Errc::closed, why};
    BlockingDriver driver;
    WriteCall call{*core_, *state_, driver, deadline_of(*core_, *state_, options.deadline), {}, options.version};
    const Key key{id, core_->keys.physical(state_->name, id)};
    return update_flow(call, key, write).run();
  });
}

Result<bool> View::exists(std::string_view id, const ReadOptions& options) noexcept {
  return contain<Result<bool>>(core_.get(), [&]() -> Result<bool> {
    if (error_) return *error_;
    if (const char* fault = id_fault(id)) return Error{Errc::invalid_argument, fault};
    if (const char* what = fault(options)) return Error{Errc::invalid_argument, what};
    const bool probed = plain(options) && plain_ != nullptr;
    if (probed && probe(id)) return true;
    if (const char* why = core_->unusable()) return Error{Errc::closed, why};
    if (const Contract contract(*state_, options); !probed || contract.when_stale != WhenStale::revalidate) {
      if (std::optional<ReadResult> r = answer_from_l1(contract, id, probed, true)) {
        if (r->error) return std::move(*r->error);
        return true;
      }
    }
    BlockingDriver driver;
    WriteCall call{*core_, *state_, driver, deadline_of(*core_, *state_, options.deadline), {}, 0};
    const Key key{id, core_->keys.physical(state_->name, id)};
    return exists_flow(call, key).run();
  });
}

ViewStats ViewState::stats(const l1::Table& table) const {
  ViewStats s;
  const auto get = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
  s.name = name;
  s.l1_hits = l1_hits.sum();
  s.l1_misses = get(l1_misses);
  s.l2_hits = get(l2_hits);
  s.misses = get(misses);
  s.loads = get(loads);
  s.load_failures = get(load_failures);
  s.flight_joins = get(flight_joins);
  s.puts = get(puts);
  s.erases = get(erases);
  s.l1_bypassed = get(l1_bypassed);
  s.bad_envelopes = get(bad_envelopes);
  s.foreign_values = get(foreign_values);
  s.l1_stale_hits = get(l1_stale_hits);
  s.l1_behind = get(l1_behind);
  s.l1_quota_bytes = options.l1_quota_bytes;
  s.l1_bytes = table.view_bytes(l1_id);
  return s;
}

ViewStats View::stats() const { return state_ != nullptr ? state_->stats(*core_->table) : ViewStats{}; }

Health View::health() const { return core_ ? core_->health() : Health{HealthState::closed, false, false, "moved from"}; }

std::shared_ptr<View> open_view(const std::shared_ptr<StoreCore>& core, std::string_view name, const ViewOptions& options,
                                const ValueOps& ops) {
  if (!core) return std::make_shared<View>(core, nullptr, Error{Errc::closed, "the store was moved from"});
  Result<ViewState*> state = core->open_view(name, options, ops);
  if (!state) return std::make_shared<View>(core, nullptr, std::move(state).error());
  return std::make_shared<View>(core, *state, std::nullopt);
}

}  // namespace tiercache::detail
