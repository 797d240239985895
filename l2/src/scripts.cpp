// SPDX-License-Identifier: Apache-2.0
#include "scripts.hpp"

#include "sha1.hpp"

namespace tiercache::l2 {
namespace {

// Lua's < on strings follows the server's locale, and Lua numbers stop at 2^53: versions are compared byte by byte.
constexpr std::string_view not_below = R"lua(
local function not_below(a, b)
  for i = 1, 8 do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x > y end
  end
  return true
end
)lua";

constexpr std::string_view log_epoch = R"lua(
local function log_epoch(key, candidate)
  local e = redis.call('GET', key)
  if e and #e == 8 then return e end
  redis.call('SET', key, candidate)
  return candidate
end
)lua";

// For scripts that must announce whatever happens: what cannot be counted goes out with sequence 0, which readers apply and do
// not check.
constexpr std::string_view number_or_zero = R"lua(
local function number_or_zero(seq_key, epoch_key, candidate)
  local e = redis.call('GET', epoch_key)
  if not (e and #e == 8) then
    e = candidate
    redis.pcall('SET', epoch_key, candidate)
  end
  local n = redis.pcall('INCR', seq_key)
  if type(n) ~= 'number' then n = 0 end
  return n, e
end
)lua";

constexpr std::string_view store = R"lua(
local function store(key, bytes, ttl)
  if ttl == '0' then redis.call('SET', key, bytes) else redis.call('SET', key, bytes, 'PX', ttl) end
end
)lua";

// INCR comes first: with memory exhausted it is what Redis refuses, and then nothing has happened yet. (A script that has
// written once is let through by the later commands, so a DEL before it would carry the SET past maxmemory.) PUBLISH comes before
// SET: should SET fail, others drop a good copy; the other way round they would keep a bad one.
constexpr std::string_view put_body = R"lua(
if #ARGV[8] == 8 then
  local old = redis.call('GETRANGE', KEYS[1], 0, 15)
  if #old == 16 and old:sub(1, 4) == 'TCE\1' and not_below(old:sub(9, 16), ARGV[8]) then return 0 end
end
local e = log_epoch(KEYS[4], ARGV[4])
local n = redis.call('INCR', KEYS[3])
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[1], ARGV[2] .. e .. struct.pack('>I8', n) .. ARGV[3])
store(KEYS[1], ARGV[5] .. e .. ARGV[6], ARGV[7])
return 1
)lua";

// DEL comes first: it must succeed even where no memory is left for anything else.
constexpr std::string_view erase_body = R"lua(
local count = (#KEYS - 2) / 2
local gone = redis.call('DEL', unpack(KEYS, 1, count))
redis.call('DEL', unpack(KEYS, count + 1, 2 * count))
local n, e = number_or_zero(KEYS[#KEYS - 1], KEYS[#KEYS], ARGV[4])
redis.call('PUBLISH', ARGV[1], ARGV[2] .. e .. struct.pack('>I8', n) .. ARGV[3])
return gone
)lua";

constexpr std::string_view announce_body = R"lua(
local n, e = number_or_zero(KEYS[1], KEYS[2], ARGV[4])
redis.call('PUBLISH', ARGV[1], ARGV[2] .. e .. struct.pack('>I8', n) .. ARGV[3])
return {n, e}
)lua";

// A lease that already bears our token is ours: the answer to the first try was lost.
constexpr std::string_view lease_get_body = R"lua(
local v = redis.call('GET', KEYS[1])
if v and (ARGV[3] == '' or string.sub(v, 1, #ARGV[3]) ~= ARGV[3]) then return {v, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[2]) == ARGV[1] then return 1 end
return 0
)lua";

constexpr std::string_view lease_fill_body = R"lua(
if ARGV[6] == '1' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local e = log_epoch(KEYS[3], ARGV[5])
store(KEYS[1], ARGV[2] .. e .. ARGV[3], ARGV[4])
redis.call('DEL', KEYS[2])
return 1
)lua";

constexpr std::string_view lease_renew_body = R"lua(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
)lua";

constexpr std::string_view lease_release_body = R"lua(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
)lua";

constexpr std::string_view remove_if_body = R"lua(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
)lua";

// DEL comes first: a demoted or isolated master refuses it, which is what the heartbeat is to find out; a full one does not,
// and there the SETs after it may fail or be let through, which is no news about the link. A new run id starts a new epoch at
// sequence 0 only as one piece: the run id is noted last.
constexpr std::string_view heartbeat_body = R"lua(
redis.call('DEL', KEYS[4])
local e = redis.call('GET', KEYS[2])
if redis.call('GET', KEYS[3]) ~= ARGV[5] or not (e and #e == 8) then
  e = ARGV[4]
  redis.call('SET', KEYS[1], '0')
  redis.call('SET', KEYS[2], e)
  redis.call('SET', KEYS[3], ARGV[5])
end
local n = tonumber(redis.call('GET', KEYS[1]) or '0')
redis.pcall('SET', KEYS[4], ARGV[7], 'PX', ARGV[6])
redis.call('PUBLISH', ARGV[1], ARGV[2] .. e .. struct.pack('>I8', n) .. ARGV[3])
return n
)lua";

// Many puts as one: in the order given, each compared with what stands or with the one before it under the same key; of those
// that pass, one number, one message, and the last one's bytes under each key (an earlier one's would be gone before anybody could
// read them). INCR first and PUBLISH before SET as in a put. A SET that fails is its own caller's refusal, no other's.
constexpr std::string_view put_many_body = R"lua(
local count = (#KEYS - 2) / 2
local answers, last, keys, leases = {}, {}, {}, {}
for i = 1, count do
  local key, version, newer = KEYS[i], ARGV[5 * i + 3], true
  if #version == 8 then
    local old = last[key] and ARGV[5 * last[key]] or redis.call('GETRANGE', key, 0, 15)
    newer = not (#old >= 16 and old:sub(1, 4) == 'TCE\1' and not_below(old:sub(9, 16), version))
  end
  answers[i] = newer and 1 or 0
  if newer then
    if not last[key] then
      keys[#keys + 1] = key
      leases[#leases + 1] = KEYS[count + i]
    end
    last[key] = i
  end
end
if #keys == 0 then return answers end
local items = {}
for j, key in ipairs(keys) do items[j] = ARGV[5 * last[key] + 4] end
local e = log_epoch(KEYS[#KEYS], ARGV[4])
local n = redis.call('INCR', KEYS[#KEYS - 1])
redis.call('DEL', unpack(leases))
redis.call('PUBLISH', ARGV[1], ARGV[2] .. e .. struct.pack('>I8', n) .. ARGV[3] .. struct.pack('>I2', #keys) .. table.concat(items))
for _, key in ipairs(keys) do
  local at = 5 * last[key]
  local bytes, done = ARGV[at] .. e .. ARGV[at + 1], nil
  if ARGV[at + 2] == '0' then done = redis.pcall('SET', key, bytes)
  else done = redis.pcall('SET', key, bytes, 'PX', ARGV[at + 2]) end
  if done.err then
    for i = 1, count do if KEYS[i] == key and answers[i] == 1 then answers[i] = done.err end end
  end
end
return answers
)lua";

template <class... Parts>
Script script(const Parts&... parts) {
  std::string text;
  (text.append(parts), ...);
  std::string sha = sha1_hex(text);
  return {std::move(text), std::move(sha)};
}

}  // namespace

const Scripts& scripts() {
  // Never destroyed: a static store's threads, or another static object's destructor, may run scripts at the process's end.
  static const Scripts& all = *new Scripts{
      script(not_below, log_epoch, store, put_body),
      script(number_or_zero, erase_body),
      script(number_or_zero, announce_body),
      script(lease_get_body),
      script(log_epoch, store, lease_fill_body),
      script(lease_renew_body),
      script(lease_release_body),
      script(remove_if_body),
      script(heartbeat_body),
      script(not_below, log_epoch, put_many_body),
  };
  return all;
}

}  // namespace tiercache::l2
