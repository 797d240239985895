// SPDX-License-Identifier: Apache-2.0
#include "operations.hpp"

#include "message.hpp"
#include "operations_parts.hpp"
#include "put_many.hpp"
#include "quick_put.hpp"
#include "scripts.hpp"
#include "scripts_bulk.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace tiercache::l2 {
namespace {

std::string be64(std::uint64_t v) {
  std::string bytes;
  append_be<8>(bytes, v);
  return bytes;
}

bool touches_leases(RemoteOp op) {
  switch (op) {
    case RemoteOp::put:
    case RemoteOp::erase:
    case RemoteOp::lease_get:
    case RemoteOp::lease_fill:
    case RemoteOp::lease_renew:
    case RemoteOp::lease_release:
    case RemoteOp::gate:
    case RemoteOp::ungate:
    case RemoteOp::put_many: return true;
    default: return false;
  }
}

Result<void> take_flag(const Result<Reply>& r, bool& to) {
  std::int64_t n = 0;
  if (auto done = take_integer(r, n); !done) return done;
  if (n != 0 && n != 1) return nonsense();
  to = n == 1;
  return {};
}

}  // namespace

Error nonsense() { return {Errc::bad_data, "Redis gave an answer of another shape than the command has"}; }

Result<void> take_integer(const Result<Reply>& r, std::int64_t& to) {
  if (!r) return r.error();
  if (r->type != Reply::Type::integer) return nonsense();
  to = r->integer;
  return {};
}

Result<std::string> announce(const MessageParts& m, const Prepared& p, std::string_view most, Exchange& x, RemoteReply& reply) {
  auto r = x.run(scripts().announce, Views{p.names.seq, p.names.epoch, p.names.log},
                 Views{p.names.channel, m.before, m.after, p.candidate, most});
  if (auto done = take_position(r, 2, x, reply); !done) return std::move(done).error();
  return std::move(r->elements[1].text);
}

Result<void> take_position(const Result<Reply>& r, std::size_t elements, const Exchange& x, RemoteReply& to) {
  if (!r) return r.error();
  if (r->type != Reply::Type::array || r->elements.size() != elements) return nonsense();
  const Reply& sequence = r->elements[0];
  const Reply& epoch = r->elements[1];
  if (sequence.type != Reply::Type::integer || sequence.integer < 0 || epoch.text.size() != 8) return nonsense();
  to.sequence = static_cast<std::uint64_t>(sequence.integer);
  to.epoch = load_be<8>(epoch.text.data());
  to.stream = stream_id(to.epoch, x.connection().run_id());
  return {};
}

Operations::Operations(const Naming& naming, std::uint32_t shards)
    : names_(naming, shards),
      origin_(naming.origin),
      log_entries_(std::to_string(naming.log_entries)),
      quick_(l2::quick_put(log_entries_)),
      epochs_(std::make_unique<std::atomic<std::uint64_t>[]>(std::max(1U, shards))),
      name_(naming.name),
      candidate_seed_(random_u64()) {}

bool Operations::writes(RemoteOp op) noexcept {
  switch (op) {
    case RemoteOp::get:
    case RemoteOp::exists:
    case RemoteOp::ping:
    case RemoteOp::resync:
    case RemoteOp::tag_members:
    case RemoteOp::members:
    // Their repetition is harmless: the token says whose lease it is.
    case RemoteOp::lease_get:
    case RemoteOp::lease_renew:
    case RemoteOp::lease_release: return false;
    default: return true;
  }
}

Result<Prepared> Operations::prepare(const RemoteRequest& request) {
  const auto bad = [](const char* what) { return Error{Errc::invalid_argument, what}; };
  if (!names_.knows(request.shard)) return bad("the shard does not exist");
  const bool of_view = request.op == RemoteOp::clear || request.op == RemoteOp::tag_stamp || request.op == RemoteOp::tag_members;
  const bool keyless = of_view || request.op == RemoteOp::heartbeat || request.op == RemoteOp::ping ||
                       request.op == RemoteOp::resync || request.op == RemoteOp::clear_all || request.op == RemoteOp::members;
  const bool many = request.op == RemoteOp::get || request.op == RemoteOp::exists || request.op == RemoteOp::erase ||
                    request.op == RemoteOp::put_many;
  if (!keyless && (request.keys.empty() || (!many && request.keys.size() != 1)))
    return bad("the number of keys does not suit the operation");
  const bool stores = request.op == RemoteOp::put || request.op == RemoteOp::lease_fill;
  if (stores && request.head.size() != head_bytes) return bad("the envelope's head has not 48 bytes");
  if (request.ttl_ms < 0) return bad("the time to live is negative");
  const bool takes_lease = request.op == RemoteOp::lease_get || request.op == RemoteOp::lease_renew;
  if (takes_lease && request.lease_ms <= 0) return bad("a lease needs a duration");
  const bool gates = request.op == RemoteOp::gate || request.op == RemoteOp::ungate;
  if (gates && request.token.empty()) return bad("a gate needs a token");
  if (request.op == RemoteOp::gate && request.lease_ms <= 0) return bad("a gate needs a duration");
  const bool buries = (gates || request.op == RemoteOp::erase) && request.version != 0;
  if (buries && (request.head.size() != head_bytes * request.keys.size() || request.ttl_ms <= 0))
    return bad("a tombstone needs a head for each key and a time to live");
  if (request.op == RemoteOp::erase && request.version != 0 && !request.tag.empty()) return bad("an erase by tag has no version");
  if (of_view && (request.type.empty() || request.type.front() == '!')) return bad("no such view");
  if (of_view && request.op != RemoteOp::clear && request.tag.empty()) return bad("no such tag");
  constexpr std::size_t tags_max = 16;
  if (request.tags.size() > tags_max) return bad("a value bears at most 16 tags");
  if (request.op == RemoteOp::erase) {
    std::size_t bytes = 42;
    for (const std::string& key : request.keys) bytes += 10 + key.size();
    if (request.keys.size() > MessageParts::items_max || bytes > MessageParts::bytes_max) {
      return Error{Errc::too_large, "one erase takes at most 1024 keys and 1 MiB of them"};
    }
  }

  if (request.op == RemoteOp::put_many) {
    if (auto fits = check_put_many(request); !fits) return fits.error();
  }

  Prepared p{names_.at(request.shard), {}, {}, {}};
  for (const std::string& key : request.keys) {
    auto lease = names_.lease_of(key, p.names);
    constexpr std::size_t key_max = 2048;
    if (!lease || key.size() > key_max) return bad("a key is not one of this store and shard");
    if (touches_leases(request.op)) p.leases.push_back(std::move(*lease));
  }
  if (gates || request.op == RemoteOp::lease_get) p.gate = names_.gate_of(p.leases.front());
  const std::uint64_t n = candidates_.fetch_add(1, std::memory_order_relaxed);
  p.candidate = be64(std::max<std::uint64_t>(1, mix64(candidate_seed_ + n)));
  return p;
}

Result<void> Operations::run(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  const Scripts& s = scripts();
  switch (request.op) {
    case RemoteOp::get: return get(request, x, reply);
    case RemoteOp::exists: return exists(request, x, reply);
    case RemoteOp::put: return put(request, p, x, reply);
    case RemoteOp::put_many: return put_many(request, p, x, reply);
    case RemoteOp::erase: return erase(request, p, x, reply);
    case RemoteOp::lease_get: return lease_get(request, p, x, reply);
    case RemoteOp::lease_fill: return lease_fill(request, p, x, reply);
    case RemoteOp::lease_renew:
      return take_flag(x.run(s.lease_renew, Views{p.leases[0]}, Views{request.token, std::to_string(request.lease_ms)}),
                       reply.applied);
    case RemoteOp::lease_release:
      return take_flag(x.run(s.lease_release, Views{p.leases[0]}, Views{request.token, p.names.channel, wake_message(request)}),
                       reply.applied);
    case RemoteOp::remove_if: return take_flag(x.run(s.remove_if, Views{request.keys[0]}, Views{request.payload}), reply.applied);
    case RemoteOp::clear: return clear(request, p, x, reply);
    case RemoteOp::gate:
    case RemoteOp::ungate: return gate(request, p, x, reply);
    case RemoteOp::heartbeat: return heartbeat(request, p, x, reply);
    case RemoteOp::resync: return resync(request, p, x, reply);
    case RemoteOp::clear_all: return clear_all(request, p, x, reply);
    case RemoteOp::tag_stamp: return tag_stamp(request, p, x, reply);
    case RemoteOp::tag_members: return tag_members(request, p, x, reply);
    case RemoteOp::members: return members(request, p, x, reply);
    case RemoteOp::ping: {
      const auto r = x.call({"PING"});
      if (!r) return r.error();
      reply.applied = r->type == Reply::Type::status;
      return reply.applied ? Result<void>() : nonsense();
    }
  }
  return nonsense();
}

// PTTL before GET. Where both answers are of different writes, the value is the newer one, and the envelope's own ttl bounds what
// the older PTTL may have promised too much.
Result<void> Operations::get(const RemoteRequest& request, Exchange& x, RemoteReply& reply) const {
  reply.values.clear();
  reply.values.reserve(request.keys.size());
  constexpr std::size_t keys_at_once = 256;  // bounds what both sides must buffer
  for (std::size_t first = 0; first < request.keys.size(); first += keys_at_once) {
    const auto keys = request.keys.subspan(first, std::min(keys_at_once, request.keys.size() - first));
    for (const std::string& key : keys) {
      x.connection().append({"PTTL", key});
      x.connection().append({"GET", key});
    }
    auto replies = x.pipeline(2 * keys.size());
    if (!replies) return replies.error();
    for (std::size_t i = 0; i < replies->size(); i += 2) {
      const Reply& ttl = (*replies)[i];
      Reply& value = (*replies)[i + 1];
      if (ttl.type != Reply::Type::integer) return nonsense();
      if (value.type != Reply::Type::string && value.type != Reply::Type::nil) return nonsense();
      // -2: it was not there when PTTL ran, so a miss is a true answer, and the only one: the newcomer's ttl is not known.
      const bool there = value.type == Reply::Type::string && ttl.integer != -2;
      reply.values.push_back(there ? std::optional(RemoteValue{std::move(value.text), ttl.integer}) : std::nullopt);
    }
  }
  return {};
}

Result<void> Operations::exists(const RemoteRequest& request, Exchange& x, RemoteReply& reply) const {
  return take_integer(x.run(scripts().exists, Views(request.keys.begin(), request.keys.end()), {}), reply.count);
}

Result<void> Operations::put(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  MessageParts m(MessageParts::Kind::invalidate, request.shard, origin_, request.write_id);
  m.add(request.keys[0], request.version);
  const std::string ttl = std::to_string(request.ttl_ms);
  if (lab::ablated(lab::Remedy::atomic_write)) {
    auto epoch = announce(m, p, log_entries_, x, reply);
    if (!epoch) return epoch.error();
    TIERCACHE_LAB_POINT(publish_to_store, request.keys[0]);
    const std::string bytes = std::string(request.head) + *epoch + std::string(request.payload);
    Views set = {"SET", request.keys[0], bytes};
    if (request.ttl_ms != 0) set.insert(set.end(), {"PX", ttl});
    x.connection().append({"DEL", p.leases[0]});
    x.connection().append(set);
    auto stored = x.pipeline(2);
    if (!stored) return stored.error();
    reply.applied = true;
    return {};
  }
  if (auto done = quick_put(request, p, m, x, reply)) {
    reply.applied = done->ok();
    return std::move(*done);
  }
  const bool compares = request.if_newer && !lab::ablated(lab::Remedy::version_check);
  const std::string version = compares ? be64(request.version) : "";
  Views keys = {request.keys[0], p.leases[0], p.names.seq, p.names.epoch, p.names.log};
  Views args = {p.names.channel, m.before, m.after, p.candidate, request.head, request.payload, ttl, version, log_entries_};
  const std::vector<std::string> sets = tag_sets(request, p);
  const std::string tags = std::to_string(sets.size());
  if (!sets.empty()) {
    keys.insert(keys.end(), sets.begin(), sets.end());
    args.insert(args.end(), {ttl, tags});
  }
  const auto r = x.run(sets.empty() ? scripts().put : bulk_scripts().put, keys, args);
  if (r && r->type == Reply::Type::integer && r->integer == 0)
    return Error{Errc::superseded, "the same or a newer version stands"};
  auto done = take_position(r, 2, x, reply);
  reply.applied = done.ok();
  if (done) epochs_[request.shard].store(reply.epoch, std::memory_order_relaxed);
  return done;
}

Result<void> Operations::erase(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  if (request.version != 0 && !lab::ablated(lab::Remedy::tombstone)) {
    const auto r = erase_versions(request, p, x);
    if (auto done = take_position(r, 3, x, reply); !done) return done;
    return take_integer(r->elements[2], reply.count);
  }
  MessageParts m(MessageParts::Kind::invalidate, request.shard, origin_, request.write_id);
  for (const std::string& key : request.keys) m.add(key, 0);
  Views keys(request.keys.begin(), request.keys.end());
  keys.insert(keys.end(), p.leases.begin(), p.leases.end());
  if (lab::ablated(lab::Remedy::atomic_write)) {
    if (auto epoch = announce(m, p, log_entries_, x, reply); !epoch) return epoch.error();
    TIERCACHE_LAB_POINT(publish_to_store, request.keys[0]);
    Views del = {"DEL"};
    del.insert(del.end(), request.keys.begin(), request.keys.end());
    x.connection().append(del);
    del.resize(1);
    del.insert(del.end(), p.leases.begin(), p.leases.end());
    x.connection().append(del);
    auto gone = x.pipeline(2);
    if (!gone) return gone.error();
    return take_integer(std::move(gone->front()), reply.count);
  }
  keys.insert(keys.end(), {p.names.seq, p.names.epoch, p.names.log});
  Views args = {p.names.channel, m.before, m.after, p.candidate, log_entries_};
  const std::string count = std::to_string(request.keys.size());
  std::string set;
  if (!request.tag.empty()) {
    set = names_.tag_set(names_.type_of(request.keys[0]), request.tag, p.names);
    keys.emplace_back(set);
    args.emplace_back(count);
  }
  const auto r = x.run(set.empty() ? scripts().erase : bulk_scripts().erase, keys, args);
  if (auto done = take_position(r, 3, x, reply); !done) return done;
  return take_integer(r->elements[2], reply.count);
}

Result<void> Operations::lease_get(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  auto r = x.run(bulk_scripts().lease_get, Views{request.keys[0], p.leases[0], p.gate, p.names.seq, p.names.epoch},
                 Views{request.token, std::to_string(request.lease_ms), request.ignore_value ? request.head : "", p.candidate});
  if (!r) return r.error();
  reply.values.assign(1, std::nullopt);
  if (r->type == Reply::Type::integer) {
    if (r->integer != 0 && r->integer != 2) return nonsense();
    reply.lease = r->integer == 2 ? LeaseState::gated : LeaseState::held;
    return {};
  }
  if (r->type == Reply::Type::array && r->elements.size() == 2 && r->elements[0].type == Reply::Type::integer &&
      r->elements[0].integer == 1) {
    reply.lease = LeaseState::granted;
    reply.stamp = std::move(r->elements[1].text);
    if (reply.stamp.size() < 9) return nonsense();
    reply.epoch = load_be<8>(reply.stamp.data());
    return {};
  }
  const bool pair = r->type == Reply::Type::array && r->elements.size() == 2 && r->elements[0].type == Reply::Type::string &&
                    r->elements[1].type == Reply::Type::integer;
  if (!pair) return nonsense();
  reply.lease = LeaseState::none;
  reply.values[0] = RemoteValue{std::move(r->elements[0].text), r->elements[1].integer};
  return {};
}

Result<void> Operations::lease_fill(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  const char* const check = lab::ablated(lab::Remedy::lease) ? "0" : "1";
  const std::string ttl = std::to_string(request.ttl_ms);
  const std::string wake = wake_message(request);
  const std::string version = request.version != 0 ? be64(request.version) : "";
  Views keys = {request.keys[0], p.leases[0], p.names.epoch};
  const bool any_epoch = request.epoch == 0 || lab::ablated(lab::Remedy::lease) || lab::ablated(lab::Remedy::lease_epoch);
  const std::string epoch = any_epoch ? "" : be64(request.epoch);
  Views args = {request.token, request.head, request.payload, ttl, p.candidate, check, p.names.channel, wake, version, epoch};
  const std::vector<std::string> sets = tag_sets(request, p);
  std::vector<std::string> ats;
  for (const std::string& tag : request.tags) ats.push_back(names_.tag_at(names_.type_of(request.keys[0]), tag, p.names));
  const std::string tags = std::to_string(sets.size());
  if (!sets.empty()) {
    keys.insert(keys.end(), sets.begin(), sets.end());
    keys.insert(keys.end(), ats.begin(), ats.end());
    keys.emplace_back(p.names.epoch);
    args.insert(args.end(), {lab::ablated(lab::Remedy::tag_stamp) ? "*" : request.stamp, ttl, tags});
  }
  return take_flag(x.run(sets.empty() ? scripts().lease_fill : bulk_scripts().lease_fill, keys, args), reply.applied);
}

Result<void> Operations::heartbeat(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  const MessageParts m(MessageParts::Kind::heartbeat, request.shard, origin_, request.beat);
  constexpr std::int64_t default_ms = 60'000;
  const std::string ms = std::to_string(request.ttl_ms != 0 ? request.ttl_ms : default_ms);
  const std::string state = beat_state(request);
  return take_integer(
      x.run(bulk_scripts().heartbeat, Views{p.names.seq, p.names.epoch, p.names.run, p.names.beat, p.names.log, p.names.members},
            Views{p.names.channel, m.before, m.after, p.candidate, x.connection().run_id(), ms, state, log_entries_,
                  names_.origin(), ms}),
      reply.count);
}

Result<void> Operations::resync(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  constexpr std::string_view entries = "512";
  constexpr std::string_view bytes = "262144";
  auto r = x.run(scripts().resync, Views{p.names.log, p.names.seq, p.names.epoch, p.names.run},
                 Views{be64(request.epoch), x.connection().run_id(), std::to_string(request.sequence), entries, bytes});
  if (!r) return r.error();
  if (r->type != Reply::Type::array) return nonsense();
  if (r->elements.empty()) return {};
  if (r->elements[0].type != Reply::Type::integer || r->elements[0].integer < 0) return nonsense();
  reply.applied = true;
  reply.stream = stream_id(request.epoch, x.connection().run_id());
  reply.count = r->elements[0].integer;
  reply.messages.reserve(r->elements.size() - 1);
  for (std::size_t i = 1; i < r->elements.size(); ++i) {
    if (r->elements[i].type != Reply::Type::string) return nonsense();
    reply.messages.push_back(std::move(r->elements[i].text));
  }
  return {};
}

}  // namespace tiercache::l2
