// SPDX-License-Identifier: Apache-2.0
#include "scripts.hpp"

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

// Why the version that stands could not be read. What is no string has none to compare with; SET would replace it, whatever it
// is.
constexpr std::string_view unread = R"lua(
local function unread(r)
  return r.err:find('WRONGTYPE', 1, true) and 'WRONGTYPE the key holds another type than a string' or r.err
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

// Makes the announcement of number n and logs it under the id n-1. What the log must never have is a number twice in one epoch:
// whoever missed the first round would take the second for what it missed. Numbers are given again when the counter was lost
// (evicted, deleted): then the first is 1, and no heartbeat has begun the epoch with it, which leaves a ttl on its 0; or the
// number is not above the log's last. Then a new epoch begins. XADD may fail for other reasons (it is not allowed, the key holds
// something else): a log that may have a hole goes, DEL being what always works. A message above 4 KiB leaves a mark that says
// so.
constexpr std::string_view announcement = R"lua(
local function announcement(n, e, seq_key, epoch_key, log_key, most, before, after, candidate)
  local message = before .. e .. struct.pack('>I8', n) .. after
  if n == 0 then
    redis.call('DEL', log_key)
    return message, e
  end
  local again = n == 1 and redis.pcall('PERSIST', seq_key) ~= 1
  local function log()
    local m = #message > 4096 and '' or message
    local r = redis.pcall('XADD', log_key, 'MAXLEN', '~', most, string.format('%.0f-1', n), 'm', m)
    return type(r) ~= 'table' or not r.err
  end
  if not again and (most == '0' or log()) then return message, e end
  local top = redis.pcall('XREVRANGE', log_key, '+', '-', 'COUNT', '1')
  again = again or (top[1] and tonumber(string.match(top[1][1], '^%d+')) >= n)
  redis.call('DEL', log_key)
  if not again then return message, e end
  redis.call('DEL', epoch_key)
  redis.pcall('SET', epoch_key, candidate)
  message = before .. candidate .. struct.pack('>I8', n) .. after
  if most ~= '0' then log() end
  return message, candidate
end
)lua";

constexpr std::string_view store = R"lua(
local function store(key, bytes, ttl)
  if ttl == '0' then redis.call('SET', key, bytes) else redis.call('SET', key, bytes, 'PX', ttl) end
end
)lua";

// An envelope of nothing but a version (docs/design.md, "Tombstones"). Readers see an absent key.
constexpr std::string_view tombstone = R"lua(
local function tombstone(v)
  return v and #v == 56 and v:sub(1, 4) == 'TCE\1' and v:byte(8) == 4
end
)lua";

// A lease is its holder's token, with a '+' behind it once somebody waits for it. So the mark costs no key of its own, comes and
// goes with the lease, and who gives the lease back knows from the read that it makes anyway whether anybody is to be woken.
constexpr std::string_view lease_of = R"lua(
local function mine(lease, token) return lease == token or lease == token .. '+' end
local function wake(lease, channel, message)
  if lease and lease:sub(-1) == '+' then redis.pcall('PUBLISH', channel, message) end
end
)lua";

// INCR comes first: with memory exhausted it is what Redis refuses, and then nothing has happened yet. (A script that has
// written once is let through by the later commands, so a DEL before it would carry the SET past maxmemory.) PUBLISH comes before
// SET: should SET fail, others drop a good copy; the other way round they would keep a bad one.
// A version that stands already may have come by a lease fill, which announces nothing: so its writer announces it, whose
// word others wait for who hold an older one.
constexpr std::string_view put_body = R"lua(
local same = false
if #ARGV[8] == 8 then
  local old = redis.pcall('GETRANGE', KEYS[1], 0, 15)
  if type(old) ~= 'string' then return redis.error_reply(unread(old)) end
  if #old == 16 and old:sub(1, 4) == 'TCE\1' and not_below(old:sub(9, 16), ARGV[8]) then
    same = old:sub(9, 16) == ARGV[8]
    if not same then return 0 end
  end
end
local e = log_epoch(KEYS[4], ARGV[4])
local n = redis.call('INCR', KEYS[3])
redis.call('DEL', KEYS[2])
local m
m, e = announcement(n, e, KEYS[3], KEYS[4], KEYS[5], ARGV[9], ARGV[2], ARGV[3], ARGV[4])
redis.call('PUBLISH', ARGV[1], m)
if same then return 0 end
store(KEYS[1], ARGV[5] .. e .. ARGV[6], ARGV[7])
return {n, e}
)lua";

// DEL comes first: it must succeed even where no memory is left for anything else.
constexpr std::string_view erase_body = R"lua(
local count = (#KEYS - 3) / 2
local gone = redis.call('DEL', unpack(KEYS, 1, count))
redis.call('DEL', unpack(KEYS, count + 1, 2 * count))
local seq, epoch, log = unpack(KEYS, #KEYS - 2)
local n, e = number_or_zero(seq, epoch, ARGV[4])
local m
m, e = announcement(n, e, seq, epoch, log, ARGV[5], ARGV[2], ARGV[3], ARGV[4])
redis.call('PUBLISH', ARGV[1], m)
return {n, e, gone}
)lua";

constexpr std::string_view announce_body = R"lua(
local n, e = number_or_zero(KEYS[1], KEYS[2], ARGV[4])
local m
m, e = announcement(n, e, KEYS[1], KEYS[2], KEYS[3], ARGV[5], ARGV[2], ARGV[3], ARGV[4])
redis.call('PUBLISH', ARGV[1], m)
return {n, e}
)lua";

// A lease that already bears our token is ours: the answer to the first try was lost.
constexpr std::string_view lease_get_body = R"lua(
local v = redis.call('GET', KEYS[1])
if v and not tombstone(v) and (ARGV[3] == '' or string.sub(v, 1, #ARGV[3]) ~= ARGV[3]) then
  return {v, redis.call('PTTL', KEYS[1])}
end
if redis.call('EXISTS', KEYS[3]) == 1 then return 2 end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local lease = redis.call('GET', KEYS[2])
if mine(lease, ARGV[1]) then return 1 end
if lease and lease:sub(-1) ~= '+' then redis.pcall('SET', KEYS[2], lease .. '+', 'KEEPTTL') end
return 0
)lua";

// An update's gate needs no look here: its beginning took the lease away, and while it stands none is granted. A lease taken
// after a versioned erase proves that the load began after it, not that its source had got so far (a lagging replica of the
// database): hence the tombstone's version. The same version is what one expects to load.
// A lease is good in the epoch in which it was granted. One that came back with an older snapshot, or with a replica that lagged,
// may have been displaced by a write that this server knows nothing of: its fill would be stored as of the epoch in force.
constexpr std::string_view lease_fill_body = R"lua(
local lease = redis.call('GET', KEYS[2])
if ARGV[6] == '1' and not mine(lease, ARGV[1]) then return 0 end
local e = redis.call('GET', KEYS[3])
local outdated = ARGV[10] ~= '' and ARGV[10] ~= e
if not outdated and #ARGV[9] == 8 then
  local old = redis.call('GETRANGE', KEYS[1], 0, 56)
  outdated = tombstone(old) and not not_below(ARGV[9], old:sub(9, 16))
end
if not outdated then
  if ARGV[10] == '' then e = log_epoch(KEYS[3], ARGV[5]) end
  store(KEYS[1], ARGV[2] .. e .. ARGV[3], ARGV[4])
end
redis.call('DEL', KEYS[2])
wake(lease, ARGV[7], ARGV[8])
return outdated and 0 or 1
)lua";

constexpr std::string_view lease_renew_body = R"lua(
if not mine(redis.call('GET', KEYS[1]), ARGV[1]) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
)lua";

constexpr std::string_view lease_release_body = R"lua(
local lease = redis.call('GET', KEYS[1])
if not mine(lease, ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
wake(lease, ARGV[2], ARGV[3])
return 1
)lua";

constexpr std::string_view remove_if_body = R"lua(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
)lua";

// DEL comes first: a demoted or isolated master refuses it, which is what the heartbeat is to find out; a full one does not,
// and there the SETs after it may fail or be let through, which is no news about the link. A new run id starts a new epoch at
// sequence 0 only as one piece: the run id is noted last. The ttl of ten years is how announcement() knows this 0 from a counter
// that was lost; the log begins with an entry for it.
constexpr std::string_view heartbeat_body = R"lua(
redis.call('DEL', KEYS[4])
local e = redis.call('GET', KEYS[2])
if redis.call('GET', KEYS[3]) ~= ARGV[5] or not (e and #e == 8) then
  e = ARGV[4]
  redis.call('DEL', KEYS[5])
  redis.call('SET', KEYS[1], '0', 'PX', '315576000000')
  redis.call('SET', KEYS[2], e)
  if ARGV[8] ~= '0' then redis.pcall('XADD', KEYS[5], '0-1', 'm', '') end
  redis.call('SET', KEYS[3], ARGV[5])
end
local n = tonumber(redis.call('GET', KEYS[1]) or '0')
redis.pcall('SET', KEYS[4], ARGV[7], 'PX', ARGV[6])
redis.call('PUBLISH', ARGV[1], ARGV[2] .. e .. struct.pack('>I8', n) .. ARGV[3])
return n
)lua";

// An entry is named by the number it bears, so the entry of the last number that was applied must stand there: had anything been
// missing since, the log would have been deleted, and begun again above it. Where the log breaks off below the last number given
// the next page is empty, which says so too.
constexpr std::string_view resync_body = R"lua(
if redis.call('GET', KEYS[3]) ~= ARGV[1] or redis.call('GET', KEYS[4]) ~= ARGV[2] then return {} end
local from = tonumber(ARGV[3])
local last = tonumber(redis.call('GET', KEYS[2]) or '-1')
if last < from then return {} end
local page = {last}
local bytes = 0
local entries = redis.call('XRANGE', KEYS[1], ARGV[3] .. '-1', '+', 'COUNT', ARGV[4] + 1)
for i, entry in ipairs(entries) do
  if entry[1] ~= string.format('%.0f-1', from + i - 1) then return {} end
  if i > 1 then
    page[i] = entry[2][2]
    bytes = bytes + #page[i]
    if bytes > tonumber(ARGV[5]) then break end
  end
end
return entries[1] and page or {}
)lua";

constexpr std::string_view exists_body = R"lua(
local n = 0
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    local v = redis.pcall('GETRANGE', key, 0, 56)
    if type(v) ~= 'string' or not tombstone(v) then n = n + 1 end
  end
end
return n
)lua";

// Of two versions the newer one stays: an erase that is late must not make room for what is older than what it met.
constexpr std::string_view bury = R"lua(
local function known(key)
  local v = redis.pcall('GETRANGE', key, 0, 15)
  return type(v) == 'string' and #v == 16 and v:sub(1, 4) == 'TCE\1' and v:sub(9, 16) or nil
end
local function bury(key, head, known, epoch, ttl)
  if known and not_below(known, head:sub(9, 16)) then head = head:sub(1, 8) .. known .. head:sub(17) end
  redis.pcall('SET', key, head .. epoch, 'PX', ttl)
end
)lua";

// As an erase. Where no memory is left for the tombstone the key is erased all the same.
constexpr std::string_view erase_versions_body = R"lua(
local count = (#KEYS - 3) / 2
local versions = {}
for i = 1, count do versions[i] = known(KEYS[i]) end
local gone = redis.call('DEL', unpack(KEYS, 1, count))
redis.call('DEL', unpack(KEYS, count + 1, 2 * count))
local n, e = number_or_zero(KEYS[#KEYS - 2], KEYS[#KEYS - 1], ARGV[4])
local m
m, e = announcement(n, e, KEYS[#KEYS - 2], KEYS[#KEYS - 1], KEYS[#KEYS], ARGV[7], ARGV[2], ARGV[3], ARGV[4])
for i = 1, count do bury(KEYS[i], ARGV[6]:sub(48 * i - 47, 48 * i), versions[i], e, ARGV[5]) end
redis.call('PUBLISH', ARGV[1], m)
return {n, e, gone}
)lua";

// The gate is the tokens of the updates in progress, each with the instant of its lapse on the server's own clock (what PEXPIRE
// makes of a duration, too); the key expires with the last of them. One expiry for all would let a busy key keep a dead
// updater's token for ever. Raised before anything else is done, since without it the update must not begin; and lowered last.
constexpr std::string_view gate_body = R"lua(
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local opens, stood = ARGV[6] ~= '0', 1
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if opens then redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[6]), ARGV[5]) end
local version = #ARGV[7] == 48 and known(KEYS[1]) or nil
redis.call('DEL', KEYS[1], KEYS[2])
local n, e = number_or_zero(KEYS[4], KEYS[5], ARGV[4])
local m
m, e = announcement(n, e, KEYS[4], KEYS[5], KEYS[6], ARGV[9], ARGV[2], ARGV[3], ARGV[4])
if #ARGV[7] == 48 then bury(KEYS[1], ARGV[7], version, e, ARGV[8]) end
redis.call('PUBLISH', ARGV[1], m)
if not opens then stood = redis.call('ZREM', KEYS[3], ARGV[5]) end
local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', KEYS[3], last[2]) end
return {n, e, stood}
)lua";

// Many puts as one: in the order given, each compared with what stands or with the one before it under the same key; of those
// that pass, one number, one message, and the last one's bytes under each key (an earlier one's would be gone before anybody
// could read them). Who meets its own version is told of and not stored, as in a put. INCR first and PUBLISH before SET as
// there. A SET that fails, or a key of another type, is its own caller's refusal, no other's.
constexpr std::string_view put_many_body = R"lua(
local count = (#KEYS - 3) / 2
local seq, epoch, log = unpack(KEYS, #KEYS - 2)
local answers, last, told, keys, leases = {}, {}, {}, {}, {}
for i = 1, count do
  local key, version, newer, same, failed = KEYS[i], ARGV[5 * i + 3], true, false, nil
  if #version == 8 then
    local old = last[key] and ARGV[5 * last[key]] or redis.pcall('GETRANGE', key, 0, 15)
    if type(old) ~= 'string' then failed, old = unread(old), '' end
    newer = not failed and not (#old >= 16 and old:sub(1, 4) == 'TCE\1' and not_below(old:sub(9, 16), version))
    same = not newer and old:sub(9, 16) == version
  end
  answers[i] = failed or (newer and 1 or 0)
  if newer or same then
    if not told[key] then
      keys[#keys + 1] = key
      leases[#leases + 1] = KEYS[count + i]
    end
    told[key] = i
  end
  if newer then last[key] = i end
end
if #keys == 0 then return {answers} end
local items = {}
for j, key in ipairs(keys) do items[j] = ARGV[5 * told[key] + 4] end
local after = ARGV[3] .. struct.pack('>I2', #keys) .. table.concat(items)
local e = log_epoch(epoch, ARGV[4])
local n = redis.call('INCR', seq)
redis.call('DEL', unpack(leases))
local m
m, e = announcement(n, e, seq, epoch, log, ARGV[#ARGV], ARGV[2], after, ARGV[4])
redis.call('PUBLISH', ARGV[1], m)
for _, key in ipairs(keys) do
  local at, done = 5 * (last[key] or 0), {}
  if at ~= 0 then
    local bytes = ARGV[at] .. e .. ARGV[at + 1]
    if ARGV[at + 2] == '0' then done = redis.pcall('SET', key, bytes)
    else done = redis.pcall('SET', key, bytes, 'PX', ARGV[at + 2]) end
  end
  if done.err then
    for i = 1, count do if KEYS[i] == key and answers[i] == 1 then answers[i] = done.err end end
  end
end
return {n, e, answers}
)lua";

}  // namespace

const Scripts& scripts() {
  // Never destroyed: a static store's threads, or another static object's destructor, may run scripts at the process's end.
  static const Scripts& all = *new Scripts{
      script(not_below, unread, log_epoch, announcement, store, put_body),
      script(number_or_zero, announcement, erase_body),
      script(number_or_zero, announcement, announce_body),
      script(tombstone, lease_of, lease_get_body),
      script(not_below, log_epoch, store, tombstone, lease_of, lease_fill_body),
      script(lease_of, lease_renew_body),
      script(lease_of, lease_release_body),
      script(remove_if_body),
      script(heartbeat_body),
      script(resync_body),
      script(tombstone, exists_body),
      script(not_below, number_or_zero, announcement, bury, erase_versions_body),
      script(not_below, number_or_zero, announcement, bury, gate_body),
      script(not_below, unread, log_epoch, announcement, put_many_body),
  };
  return all;
}

}  // namespace tiercache::l2
