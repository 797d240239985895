// SPDX-License-Identifier: Apache-2.0
//
// Redis works on one script at a time, so what a put costs there is what all writers together are held to. What costs: each
// redis.call about a quarter of a microsecond; each function made; and each byte of each string, which Redis' Lua hashes. Hence
// one MGET, no helper functions, and a value that is put together by the caller, who for that has to know the epoch.
#include "quick_put.hpp"

#include "message.hpp"
#include "operations.hpp"
#include "operations_parts.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>

#include <span>
#include <string>

namespace tiercache::l2 {
namespace {

// Whatever is unusual is left to Scripts::put, before anything was done: no epoch or another one, no number yet (the next one is
// 1, and announcement() in scripts.cpp must look whether it may be), and, XADD being the first to write, no memory, no
// permission, or a number that the log has already. From there on nothing can fail but for want of a permission, and the numbers
// stay right even so: of an entry whose number was not given XADD tells when that is given. Trimmed every 128th time: the log may
// have a few more entries, and Redis need not look for the first one at each.
constexpr std::string_view body = R"lua(
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local r = call('MGET', KEYS[3], KEYS[4], KEYS[2])
local s = r[1]
if not s or s == '0' or r[2] ~= string.sub(ARGV[2], 9) then return -1 end
local n = s + 1
local m = ARGV[2] .. struct.pack('>I8', n) .. ARGV[3]
if n % 128 ~= 0 then call('XADD', KEYS[5], string.format('%d-1', n), 'm', m)
else call('XADD', KEYS[5], 'MAXLEN', '~', most, string.format('%d-1', n), 'm', m) end
call('INCR', KEYS[3])
if r[3] then call('DEL', KEYS[2]) end
call('PUBLISH', ARGV[1], m)
if ARGV[5] then call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) else call('SET', KEYS[1], ARGV[4]) end
return n
)lua";

}  // namespace

Script quick_put(std::string_view most) { return script("local most = '", most, "'", body); }

std::optional<Result<void>> Operations::quick_put(const RemoteRequest& request, const Prepared& p, const MessageParts& m,
                                                  Exchange& x, RemoteReply& reply) const {
  const std::uint64_t epoch = epochs_[request.shard].load(std::memory_order_relaxed);
  if (epoch == 0 || log_entries_ == "0" || request.if_newer || !request.tags.empty()) return std::nullopt;
  std::string before = m.before;
  append_be<8>(before, epoch);
  std::string value;
  value.reserve(request.head.size() + 8 + request.payload.size());
  value += request.head;
  append_be<8>(value, epoch);
  value += request.payload;
  const std::string ttl = std::to_string(request.ttl_ms);
  const std::string_view keys[] = {request.keys[0], p.leases[0], p.names.seq, p.names.epoch, p.names.log};
  const std::string_view args[] = {p.names.channel, before, m.after, value, ttl};
  const auto r = x.run(quick_, keys, std::span(args).first(request.ttl_ms != 0 ? 5 : 4));
  if (!r && r.error().code != Errc::refused) return r.error();
  if (!r) return std::nullopt;
  if (r->type != Reply::Type::integer || r->integer < -1) return nonsense();
  if (r->integer == -1) {
    x.forget_sent();
    return std::nullopt;
  }
  reply.sequence = static_cast<std::uint64_t>(r->integer);
  reply.epoch = epoch;
  reply.stream = stream_id(epoch, x.connection().run_id());
  return Result<void>();
}

}  // namespace tiercache::l2
