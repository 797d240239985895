// SPDX-License-Identifier: Apache-2.0
//
// Every path through the tiers, top to bottom; those that touch many keys at a time are in flow_bulk.cpp. Each flow is a
// coroutine that a Driver runs; with the blocking driver it is a plain call. The rules that keep L1 coherent stand where they
// act:
//   R1  a fill ticket is taken before the L2 read is sent;                            (read: `ask`)
//   R2  a value enters L1 only by its ticket;                                         (keep)
//   R3  L2 is filled by a loader's value only under a lease taken before the load;    (read: `load`)
//   R4  a write erases locally after its answer, or without one, and never inserts;   (settle)
//   R5  an own echo is skipped only when its write was answered and erased locally.   (settle, StoreCore::on_invalidate)
#include "flow.hpp"

#include "envelope.hpp"
#include "value.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <random>

namespace tiercache::detail {
namespace {

constexpr std::chrono::milliseconds poll_first{2};  // a lease waiter's first pause; doubles, half of it jitter
constexpr std::chrono::milliseconds poll_max{25};
constexpr std::chrono::milliseconds poll_told{100};  // where the bus will tell: only against a word that was lost

std::minstd_rand& jitter() {
  thread_local std::minstd_rand engine{static_cast<unsigned>(random_u64()) | 1U};
  return engine;
}

auto ask(ReadCall& call, const RemoteRequest& request, RemoteReply& reply) {
  return Waiting([&call, &request, &reply](std::coroutine_handle<> flow) {
    return call.driver.call(*call.core.remote, request, reply, flow);
  });
}
auto ask(WriteCall& call, const RemoteRequest& request, RemoteReply& reply) {
  return Waiting([&call, &request, &reply](std::coroutine_handle<> flow) {
    return call.driver.call(*call.core.remote, request, reply, flow);
  });
}

ReadResult failed(StoreCore& core, Error error) {
  core.errors.count(error.code);
  ReadResult r;
  r.error = std::move(error);
  return r;
}

/// How often who waits for a lease asks without a word.
Duration lease_poll(Duration usual) {
#ifdef TIERCACHE_LAB
  if (const auto ms = lab::lease_poll_ms.load(std::memory_order_relaxed); ms != 0) return std::chrono::milliseconds(ms);
#endif
  return usual;
}

/// A ttl as users give it (0: none) in the form that the flows count in (-1: none; 0: in its last millisecond).
std::int64_t flow_ttl(std::chrono::milliseconds ttl) { return ttl.count() > 0 ? ttl.count() : -1; }

/// When an L1 entry made now expires: what L2 leaves it, under the view's cap, shortened by jitter so that entries of one burst
/// part.
std::int64_t l1_expiry(const ViewOptions& options, std::int64_t ttl_ms) {
  if (options.l1_ttl.count() > 0)
    ttl_ms = ttl_ms < 0 ? options.l1_ttl.count() : std::min<std::int64_t>(ttl_ms, options.l1_ttl.count());
  if (ttl_ms < 0) return 0;
  const double cut = options.ttl_jitter * std::uniform_real_distribution<double>(0, 1)(jitter());
  return coarse_now_ms() + std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(ttl_ms) * (1 - cut)));
}

/// What L1 must have captured before L2 is asked (R1).
struct Asked {
  l1::Ticket ticket;
  std::uint32_t generation = 0;
};
Asked take_ticket(StoreCore& core, const ViewState& view, ShardId shard, std::uint64_t hash) {
  // The generation first: a bump between the two voids the entry by its generation, one before both is no matter.
  const std::uint32_t generation = core.coherence.generation(shard) + view.clears.load(std::memory_order_acquire);
  return {core.table->ticket(hash), generation};
}

/// Offers a value to L1 (R2) and makes the result: a pin if L1 kept it, else the owned value. Without `pin`, and where the thread
/// has no pin left, L1 is given a copy.
ReadResult keep(StoreCore& core, ViewState& view, const Asked& asked, std::string_view id, std::uint64_t hash, ShardId shard,
                Fetched&& fetched, Source source, bool pin = true) {
  ReadResult r;
  r.source = source;
  r.version = fetched.version;
  // What a master that was replaced still answers: the bus, which listens to another server, never tells that it is old. Seen by
  // a fill whose ticket was taken after a message of that server was applied; one from before is fenced.
  if (fetched.server && !core.coherence.always_valid() && !lab::ablated(lab::Remedy::one_server) &&
      *fetched.server != core.bus_server.load(std::memory_order_acquire)) {  // (1) pairs with (4) of store_core.cpp
    r.owned = std::move(fetched.value);
    return r;
  }
  l1::EntryMeta meta;
  meta.version = fetched.version;
  meta.generation = asked.generation;
  meta.shard = shard;
  meta.hard_expiry_ms = l1_expiry(view.options, fetched.ttl_ms);
  meta.soft_lead_ms = static_cast<std::uint32_t>(std::min<std::int64_t>(fetched.soft_lead_ms, UINT32_MAX));
  meta.idle_ttl_ms = view.options.l1_idle_ttl.count();
  if (pin && !l1::pins_exhausted()) {
    const l1::PutStatus status = core.table->fill(asked.ticket, view.l1_id, id, hash, fetched.value.get(), meta, &r.pin);
    assert(status != l1::PutStatus::stored || r.pin);
    if (status == l1::PutStatus::stored) return r;
  } else {
    const std::shared_ptr<void> copy = view.ops->copy(fetched.value.get());
    static_cast<void>(core.table->fill(asked.ticket, view.l1_id, id, hash, copy.get(), meta));
  }
  r.owned = std::move(fetched.value);
  return r;
}

/// Runs the caller's loader with nothing held. A throw becomes a value.
ReadResult run_loader(ReadCall& call, LoadResult& loaded) {
  call.view.loads.fetch_add(1, std::memory_order_relaxed);
  std::string what;
  try {
    loaded = (*call.loader)();
    if (loaded.ttl && loaded.ttl->count() < 0)
      return failed(call.core, Error{Errc::invalid_argument, "view " + call.view.name + ": the loader gave a negative ttl"});
    if (Result<void> tags = check_tags(loaded.tags); !tags) return failed(call.core, std::move(tags).error());
    ReadResult r;
    r.version = loaded.version;
    r.source = loaded.value ? Source::loader : Source::none;
    return r;
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "not a std::exception";
  }
  call.view.load_failures.fetch_add(1, std::memory_order_relaxed);
  return failed(call.core, Error{Errc::loader_failed, "view " + call.view.name + ": the loader threw: " + what});
}

/// Without Redis: the loader's value goes to the caller. L1 takes it only where L1 is all there is: beside a Redis that is away,
/// nobody could tell this L1 of a change.
ReadResult load_alone(ReadCall& call, const Asked& asked, std::optional<Error> why) {
  LoadResult loaded;
  ReadResult r = run_loader(call, loaded);
  if (r.error) return r;
  if (loaded.value && !call.core.has_remote()) {
    const auto ttl = loaded.ttl.value_or(call.ttl.value_or(call.view.options.ttl));
    Fetched fetched{std::move(loaded.value), loaded.version, flow_ttl(ttl), 0};
    return keep(call.core, call.view, asked, call.id, call.l1_hash, call.key.shard, std::move(fetched), Source::loader);
  }
  r.owned = std::move(loaded.value);
  r.error = std::move(why);
  return r;
}

}  // namespace

std::string new_token(StoreCore& core) {
  std::array<char, 34> text{};
  char* p = std::to_chars(text.data(), text.data() + 16, core.origin, 16).ptr;
  *p++ = ':';
  p = std::to_chars(p, text.data() + text.size(), core.token_number.fetch_add(1, std::memory_order_relaxed), 16).ptr;
  return {text.data(), p};
}

namespace {

/// The lease is ours: load, then fill L2 while it stands (R3), then L1.
Flow<ReadResult> load_under_lease(ReadCall& call, Asked asked, std::string token, std::string stamp, std::uint64_t epoch) {
  StoreCore& core = call.core;
  const SteadyTime began = std::chrono::steady_clock::now();
  core.leases.granted.fetch_add(1, std::memory_order_relaxed);
  LoadResult loaded;
  ReadResult r;
  {
    struct Held {
      LeaseKeeper& keeper;
      const std::string& token;
      ~Held() { keeper.drop(token); }  // also when the load ends by a throw: a lease renewed for ever would stop the fleet
    } const held{*core.keeper, token};
    core.keeper->hold(token, call.key);
    r = run_loader(call, loaded);
  }
  TIERCACHE_LAB_POINT(load_to_lease_fill, call.key.text);

  RemoteRequest request;
  request.shard = call.key.shard;
  request.keys = {&call.key.text, 1};
  request.token = token;
  // The loader may have used the caller's time up; to leave the lease behind would make others wait, so these get a little of
  // their own.
  request.deadline = Deadline(std::max(call.deadline.at(), std::chrono::steady_clock::now() + std::chrono::milliseconds(100)));
  RemoteReply reply;
  if (r.error || !loaded.value) {
    request.op = RemoteOp::lease_release;
    co_await ask(call, request, reply);
    co_return r;
  }
  const auto ttl = loaded.ttl.value_or(call.ttl.value_or(call.view.options.ttl));
  const Sealed sealed = seal_value(core, call.view, call.key, loaded.value.get(), loaded.version, ttl);
  if (sealed.error) {
    request.op = RemoteOp::lease_release;
    co_await ask(call, request, reply);
    core.errors.count(sealed.error->code);
    r.owned = std::move(loaded.value);
    r.error = sealed.error;
    co_return r;
  }
  request.op = RemoteOp::lease_fill;
  request.tags = loaded.tags;
  request.stamp = std::chrono::steady_clock::now() - began < tagged_load_max ? std::string_view(stamp) : std::string_view();
  request.epoch = epoch;
  request.head = sealed.head;
  request.payload = sealed.payload;
  request.ttl_ms = ttl.count();
  request.version = loaded.version;
  co_await ask(call, request, reply);
  if (reply.error || !reply.applied) {
    // Displaced by a write, lapsed, of an epoch that is over, or Redis went: the caller asked before that and may have the value;
    // no cache may.
    r.owned = std::move(loaded.value);
    if (!reply.error) {
      core.leases.lost.fetch_add(1, std::memory_order_relaxed);
      if (!loaded.tags.empty()) {  // a tag of it was erased, perhaps: then the lease still stands
        request.op = RemoteOp::lease_release;
        RemoteReply released;
        co_await ask(call, request, released);
      }
      co_return r;
    }
    core.errors.count(reply.error->code);
    r.error = std::move(reply.error);
    if (r.error->code != Errc::outcome_unknown) {  // the lease still stands: others need not wait for it to lapse
      request.op = RemoteOp::lease_release;
      RemoteReply released;
      co_await ask(call, request, released);
    }
    co_return r;
  }
  TIERCACHE_LAB_POINT(l2_reply_to_l1_commit, call.key.text);
  const auto soft = call.view.options.soft_ttl;
  Fetched fetched{std::move(loaded.value), loaded.version, flow_ttl(ttl),
                  soft.count() > 0 && soft < ttl ? (ttl - soft).count() : 0};
  co_return keep(core, call.view, asked, call.id, call.l1_hash, call.key.shard, std::move(fetched), Source::loader);
}

/// The leader's part of a read: L2, and the loader behind it.
Flow<ReadResult> fetch(ReadCall& call) {
  StoreCore& core = call.core;
  ViewState& view = call.view;
  core.table->count_miss(call.l1_hash);
  if (!core.has_remote()) {
    if (call.loader == nullptr) {
      view.misses.fetch_add(1, std::memory_order_relaxed);
      co_return ReadResult{};
    }
    co_return load_alone(call, take_ticket(core, view, call.key.shard, call.l1_hash), std::nullopt);
  }

  const std::string token = call.loader != nullptr ? new_token(core) : std::string();
  std::string
      unusable;  // the head of what stands in L2 and cannot be used; a lease is asked for in spite of that, and of nothing newer
  const auto too_late = [&] {
    return failed(core, Error{Errc::deadline_exceeded, "view " + view.name + ": another instance was still loading the key"});
  };
  bool waited = false;
  Duration nap = poll_first;
  for (;;) {
    const Asked asked = take_ticket(core, view, call.key.shard, call.l1_hash);  // R1
    const Wakes::Ticket heard = core.wakes.ticket(call.key.text);  // before Redis is asked: no word after its answer is lost
    RemoteRequest request;
    request.op = call.loader != nullptr ? RemoteOp::lease_get : RemoteOp::get;
    request.shard = call.key.shard;
    request.keys = {&call.key.text, 1};
    request.token = token;
    request.lease_ms = core.config.lease_ttl.count();
    request.ignore_value = !unusable.empty();
    request.head = unusable;
    request.deadline = call.deadline.sooner(Deadline::after(core.config.l2.call_timeout));
    RemoteReply reply;
    co_await ask(call, request, reply);

    if (reply.error) {
      core.errors.count(reply.error->code);
      // Redis was well a moment ago, and another loads: all who wait would load at once, each when its time is up.
      const bool timed_out = waited && reply.error->code == Errc::deadline_exceeded && call.deadline.passed();
      if (call.loader != nullptr && !timed_out && reply.error->code != Errc::closed)
        co_return load_alone(call, asked, std::move(reply.error));
      ReadResult r;
      r.error = std::move(reply.error);
      co_return r;
    }
    if (!reply.values.empty() && reply.values.front()) {
      Fetched fetched;
      const Opened opened = open_value(core, view, call.key, *reply.values.front(), fetched);
      if (opened == Opened::good) {
        view.l2_hits.fetch_add(1, std::memory_order_relaxed);
        TIERCACHE_LAB_POINT(l2_reply_to_l1_commit, call.key.text);
        co_return keep(core, view, asked, call.id, call.l1_hash, call.key.shard, std::move(fetched), Source::l2);
      }
      if (opened == Opened::poison) {
        RemoteRequest remove;
        remove.op = RemoteOp::remove_if;
        remove.shard = call.key.shard;
        remove.keys = {&call.key.text, 1};
        remove.payload = reply.values.front()->bytes;
        remove.deadline = request.deadline;
        RemoteReply removed;
        co_await ask(call, remove, removed);
      }
      if (call.loader == nullptr) {
        view.misses.fetch_add(1, std::memory_order_relaxed);
        co_return ReadResult{};
      }
      if (opened == Opened::foreign) co_return load_alone(call, asked, std::nullopt);  // not ours to overwrite
      if (call.deadline.passed())
        co_return failed(core, Error{Errc::deadline_exceeded, "view " + view.name + ": unusable values kept coming"});
      unusable = reply.values.front()->bytes.substr(0, envelope_bytes);
      continue;
    }
    if (call.loader == nullptr) {
      view.misses.fetch_add(1, std::memory_order_relaxed);
      co_return ReadResult{};
    }
    if (reply.lease == LeaseState::granted) {
      view.misses.fetch_add(1, std::memory_order_relaxed);
      co_return co_await load_under_lease(call, asked, token, std::move(reply.stamp), reply.epoch);
    }

    if (reply.lease == LeaseState::gated) {
      // The row is being written: what the loader reads may be old by the time it could be stored.
      core.gates.gated.fetch_add(1, std::memory_order_relaxed);
      view.misses.fetch_add(1, std::memory_order_relaxed);
      co_return load_alone(call, asked, std::nullopt);
    }

    // Another instance loads: look again when the bus says so, and now and then, until it has stored, its lease lapsed, or the
    // caller's time is up.
    if (!waited) core.leases.waited.fetch_add(1, std::memory_order_relaxed);
    waited = true;
    if (lab::ablated(lab::Remedy::lease_wait)) co_return load_alone(call, asked, std::nullopt);
    unusable.clear();
    const Duration left = call.deadline.left();
    if (left <= Duration::zero()) co_return too_late();
    // L1 is coherent: so the bus works, as of a moment ago.
    const bool told = core.bus && core.coherence.valid_now(call.key.shard) >= 0;
    const Duration most = lease_poll(told ? Duration(poll_told) : nap);
    const Duration pause = std::min<Duration>(
        left, most / 2 + Duration(std::uniform_int_distribution<Duration::rep>(0, most.count() / 2)(jitter())));
    nap = std::min<Duration>(nap * 2, poll_max);
    co_await Waiting([&](std::coroutine_handle<> flow) { return call.driver.wait(core.wakes, heard, pause, flow); });
    if (call.deadline.passed()) co_return too_late();
    core.leases.polled.fetch_add(1, std::memory_order_relaxed);
    if (core.wakes.moved(heard)) core.leases.woken.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace

void settle(WriteCall& call, std::span<const Key> keys, std::uint64_t write_id, const RemoteReply& reply) {
  for (const Key& key : keys) {
    TIERCACHE_LAB_POINT(write_reply_to_erase, key.physical.text);
    call.core.forget(call.view, key.id, key.physical.text);
  }
  if (reply.error) return;
  // The lab's careless store takes a group's number for answered when the first of its callers has erased.
  const std::uint32_t callers = lab::ablated(lab::Remedy::group_echo) ? 1 : reply.announced_for;
  call.core.writes.answered(reply.announced_as != 0 ? reply.announced_as : write_id, callers);
}

Result<WriteToken> outcome(StoreCore& core, ShardId shard, RemoteReply&& reply) {
  if (!reply.error) return WriteToken(shard, reply.stream, reply.sequence);
  core.errors.count(reply.error->code);
  return std::move(*reply.error);
}

void add_outcome(Result<WriteToken>& all, Result<WriteToken>&& one) {
  if (!all) return;
  if (!one) all = std::move(one);
  else all->merge(*one);
}

Flow<ReadResult> read_flow(ReadCall& call) {
  for (;;) {
    const std::uint32_t generation = call.core.coherence.generation(call.key.shard) +
                                     call.view.clears.load(std::memory_order_acquire) +
                                     call.view.tag_erases.load(std::memory_order_acquire);
    const Flights::Seat seat = call.core.flights.join(call.key.text, generation, call.loader != nullptr, call.join_age);
    if (!seat.flight) co_return co_await fetch(call);  // somebody loads: a reader that wants no load asks L2 for itself
    if (seat.leads) {
      ReadResult r;
      try {
        r = co_await fetch(call);
      } catch (...) {  // want of memory, a copy that throws: whoever waits must not wait for ever. The text needs no memory.
        call.core.errors.count(Errc::internal);
        r = ReadResult{};
        r.error = Error{Errc::internal, "out of memory"};
      }
      co_return call.core.flights.finish(call.key.text, seat.flight, std::move(r), *call.view.ops);
    }
    call.view.flight_joins.fetch_add(1, std::memory_order_relaxed);
    co_await Waiting([&](std::coroutine_handle<> flow) { return call.driver.wait(*seat.flight, call.deadline, flow); });
    if (!seat.flight->wait(Deadline(SteadyTime::min())))
      co_return failed(call.core,
                       Error{Errc::deadline_exceeded, "view " + call.view.name + ": the fetch in progress did not end in time"});
    ReadResult r = seat.flight->share(*call.view.ops);
    // The leader ran out of its time, not of ours.
    if (!r.has_value() && r.error && r.error->code == Errc::deadline_exceeded && !call.deadline.passed()) continue;
    co_return r;
  }
}

Flow<std::vector<ReadResult>> read_many_flow(WriteCall& call, std::span<const Key> keys) {
  StoreCore& core = call.core;
  std::vector<ReadResult> results(keys.size());
  std::vector<Asked> asked(keys.size());
  for (std::uint32_t n_shard = 0; n_shard < core.keys.shard_count(); ++n_shard) {
    const auto shard = static_cast<ShardId>(n_shard);
    std::vector<std::string> texts;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (keys[i].physical.shard != shard) continue;
      const std::uint64_t hash = core.table->hash(call.view.l1_id, keys[i].id);
      core.table->count_miss(hash);
      asked[i] = take_ticket(core, call.view, shard, hash);  // R1
      texts.push_back(keys[i].physical.text);
      places.push_back(i);
    }
    if (texts.empty()) continue;
    RemoteReply reply;
    if (core.has_remote()) {
      RemoteRequest request;
      request.op = RemoteOp::get;
      request.shard = shard;
      request.keys = texts;
      request.deadline = call.deadline.sooner(Deadline::after(core.config.l2.call_timeout));
      co_await ask(call, request, reply);
      if (reply.error) core.errors.count(reply.error->code);
    }
    for (std::size_t n = 0; n < places.size(); ++n) {
      const std::size_t i = places[n];
      if (reply.error) {
        results[i].error = reply.error;
        continue;
      }
      Fetched fetched;
      if (n < reply.values.size() && reply.values[n] &&
          open_value(core, call.view, keys[i].physical, *reply.values[n], fetched) == Opened::good) {
        call.view.l2_hits.fetch_add(1, std::memory_order_relaxed);
        TIERCACHE_LAB_POINT(l2_reply_to_l1_commit, keys[i].physical.text);
        const std::uint64_t hash = core.table->hash(call.view.l1_id, keys[i].id);
        const bool pin = i < l1::pins_per_thread() / 2;  // the caller keeps some pins for what it does meanwhile
        results[i] = keep(core, call.view, asked[i], keys[i].id, hash, shard, std::move(fetched), Source::l2, pin);
      } else {
        call.view.misses.fetch_add(1, std::memory_order_relaxed);
      }
    }
  }
  co_return results;
}

Flow<Result<WriteToken>> put_flow(WriteCall& call, const Key& key, const void* value) {
  StoreCore& core = call.core;
  call.view.puts.fetch_add(1, std::memory_order_relaxed);
  if (!core.has_remote()) {
    // L1 is the only tier: the write goes there. put() bumps the key's fence, so a load in progress cannot overwrite it.
    std::shared_ptr<void> copy;
    try {
      copy = call.view.ops->copy(value);
    } catch (const std::exception& e) {
      co_return Error{Errc::internal, std::string("the value could not be copied: ") + e.what()};
    }
    const std::uint64_t hash = core.table->hash(call.view.l1_id, key.id);
    l1::EntryMeta meta;
    meta.version = call.version;
    meta.generation = core.coherence.generation(key.physical.shard) + call.view.clears.load(std::memory_order_acquire);
    meta.shard = key.physical.shard;
    meta.hard_expiry_ms = l1_expiry(call.view.options, flow_ttl(call.ttl));
    meta.idle_ttl_ms = call.view.options.l1_idle_ttl.count();
    const l1::PutStatus status = core.table->put(call.view.l1_id, key.id, hash, copy.get(), meta);
    core.flights.detach(key.physical.text);  // after the put: a flight begun before it must not be joined after it
    switch (status) {
      case l1::PutStatus::stored: co_return WriteToken{};
      case l1::PutStatus::too_large:
        co_return Error{Errc::too_large, "view " + call.view.name + ": the value is over l1.max_entry_bytes"};
      default: co_return Error{Errc::refused, "view " + call.view.name + ": L1 has no room and could free none"};
    }
  }
  const Sealed sealed = seal_value(core, call.view, key.physical, value, call.version, call.ttl);
  if (sealed.error) {
    core.errors.count(sealed.error->code);
    co_return *sealed.error;
  }
  RemoteRequest request;
  request.op = RemoteOp::put;
  request.shard = key.physical.shard;
  request.keys = {&key.physical.text, 1};
  request.head = sealed.head;
  request.payload = sealed.payload;
  request.ttl_ms = call.ttl.count();
  request.version = call.version;
  request.if_newer = call.version != 0;
  request.tags = call.tags;
  request.write_id = core.writes.next();
  request.deadline = call.deadline;
  RemoteReply reply;
  co_await ask(call, request, reply);
  settle(call, {&key, 1}, request.write_id, reply);
  Result<WriteToken> result = outcome(core, request.shard, std::move(reply));
  if (!result && result.error().code == Errc::refused) co_return co_await erase_instead(call, key, std::move(result).error());
  co_return result;
}

Flow<Result<WriteToken>> erase_flow(WriteCall& call, std::span<const Key> keys) {
  StoreCore& core = call.core;
  call.view.erases.fetch_add(keys.size(), std::memory_order_relaxed);
  if (!core.has_remote()) {
    for (const Key& key : keys) core.forget(call.view, key.id, key.physical.text);
    co_return WriteToken{};
  }
  // What the log of announcements keeps of one (docs/design.md, "Log and resync"): an instance that missed a longer one would
  // have to void all.
  constexpr std::size_t bytes_a_message = 4096;
  constexpr std::size_t head_bytes = 42;
  constexpr std::size_t item_bytes = 10;
  Result<WriteToken> result = WriteToken{};
  for (std::uint32_t n_shard = 0; n_shard < core.keys.shard_count(); ++n_shard) {
    const auto shard = static_cast<ShardId>(n_shard);
    std::vector<Key> mine;
    for (const Key& key : keys)
      if (key.physical.shard == shard) mine.push_back(key);
    for (std::size_t from = 0, to = 0; from < mine.size(); from = to) {
      std::vector<std::string> texts;
      for (std::size_t bytes = head_bytes; to < mine.size(); ++to) {
        bytes += item_bytes + mine[to].physical.text.size();
        if (to != from && bytes > bytes_a_message) break;
        texts.push_back(mine[to].physical.text);
      }
      const std::span<const Key> batch = std::span(mine).subspan(from, to - from);
      RemoteRequest request;
      request.op = RemoteOp::erase;
      request.shard = shard;
      request.keys = texts;
      request.tag = call.tag;
      request.write_id = core.writes.next();
      request.deadline = call.deadline;
      std::string heads;
      carry_version(call, batch, request, heads);
      RemoteReply reply;
      co_await ask(call, request, reply);
      settle(call, batch, request.write_id, reply);
      add_outcome(result, outcome(core, shard, std::move(reply)));
    }
  }
  co_return result;
}

Flow<Result<bool>> exists_flow(WriteCall& call, const Key& key) {
  StoreCore& core = call.core;
  if (!core.has_remote()) co_return false;
  RemoteRequest request;
  request.op = RemoteOp::exists;
  request.shard = key.physical.shard;
  request.keys = {&key.physical.text, 1};
  request.deadline = call.deadline.sooner(Deadline::after(core.config.l2.call_timeout));
  RemoteReply reply;
  co_await ask(call, request, reply);
  if (reply.error) {
    core.errors.count(reply.error->code);
    co_return *reply.error;
  }
  co_return reply.count > 0;
}

}  // namespace tiercache::detail
