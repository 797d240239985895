// SPDX-License-Identifier: Apache-2.0
//
// The operations of updates, of erases that carry a version, and the word to who waits for a lease.
#include "message.hpp"
#include "operations.hpp"
#include "scripts.hpp"

#include <tiercache/base/lab.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l2 {
namespace {

using Views = std::vector<std::string_view>;

Result<void> take(const Result<Reply>& r, std::int64_t& to) {
  if (!r) return r.error();
  if (r->type != Reply::Type::integer) return Error{Errc::bad_data, "Redis gave an answer of another shape than the script has"};
  to = r->integer;
  return {};
}

}  // namespace

Result<Reply> Operations::erase_versions(const RemoteRequest& request, const Prepared& p, Exchange& x) const {
  MessageParts m(MessageParts::Kind::invalidate, request.shard, origin_, request.write_id);
  for (const std::string& key : request.keys) m.add(key, request.version);
  Views keys(request.keys.begin(), request.keys.end());
  keys.insert(keys.end(), p.leases.begin(), p.leases.end());
  keys.insert(keys.end(), {p.names.seq, p.names.epoch, p.names.log});
  const std::string ttl = std::to_string(request.ttl_ms);
  return x.run(scripts().erase_versions, keys,
               Views{p.names.channel, m.before, m.after, p.candidate, ttl, request.head, log_entries_});
}

Result<void> Operations::gate(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  const bool opens = request.op == RemoteOp::gate;
  std::int64_t stood = 0;
  if (!opens && lab::ablated(lab::Remedy::update_end)) {
    if (auto done = take(x.call({"ZREM", p.gate, request.token}), stood); !done) return done;
    reply.applied = stood == 1;
    return {};
  }
  MessageParts m(MessageParts::Kind::invalidate, request.shard, origin_, request.write_id);
  m.add(request.keys[0], request.version);
  const bool without = lab::ablated(lab::Remedy::gate);
  const std::string_view head = request.version != 0 && !lab::ablated(lab::Remedy::tombstone) ? request.head : "";
  const auto r =
      x.run(scripts().gate, Views{request.keys[0], p.leases[0], p.gate, p.names.seq, p.names.epoch, p.names.log},
            Views{p.names.channel, m.before, m.after, p.candidate, request.token,
                  std::to_string(opens && !without ? request.lease_ms : 0), head, std::to_string(request.ttl_ms), log_entries_});
  if (auto done = take_position(r, 3, x, reply); !done) return done;
  if (auto done = take(r->elements[2], stood); !done) return done;
  reply.applied = stood == 1;
  return {};
}

std::string Operations::wake_message(const RemoteRequest& request) const {
  MessageParts m(MessageParts::Kind::wake, request.shard, origin_, 0);
  m.add(request.keys[0], 0);
  return m.before + std::string(16, '\0') + m.after;  // of no epoch, and unnumbered
}

}  // namespace tiercache::l2
