// SPDX-License-Identifier: Apache-2.0
#include "scripts_bulk.hpp"

namespace tiercache::l2 {
namespace {

// A tag's set is sorted by when its members expire in Redis, those that do not at +inf. It outlives each by a minute, in which no
// L1 can still hold what it names; members past that are dropped a few at a time, so that a set of short-lived keys does not
// grow for ever. An eviction in Redis takes no member off: an L1 may still hold that value.
constexpr std::string_view join_tags = R"lua(
local function join_tags(sets, key, ttl)
  local spare = 60000
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  for _, set in ipairs(sets) do
    local gone = redis.call('ZRANGEBYSCORE', set, '-inf', now - spare, 'LIMIT', 0, 16)
    local left = redis.call('PTTL', set)
    if ttl == 0 then
      redis.call('ZADD', set, '+inf', key)
      if left >= 0 then redis.call('PERSIST', set) end
    else
      redis.call('ZADD', set, now + ttl, key)
      if left == -2 or (left >= 0 and left < ttl + spare) then redis.call('PEXPIRE', set, ttl + spare) end
    end
    for _, member in ipairs(gone) do
      if member ~= key then redis.call('ZREM', set, member) end
    end
  end
end
local function take_last(from, count)
  local taken = {}
  for i = count, 1, -1 do taken[i] = table.remove(from) end
  return taken
end
)lua";

// Before the put itself: with memory exhausted ZADD is what Redis refuses, and nothing has happened yet. A put that is superseded
// leaves its key among the members, which costs an erase too many.
constexpr std::string_view put_tags = R"lua(
local tags = tonumber(table.remove(ARGV))
local tag_ttl = tonumber(table.remove(ARGV))
join_tags(take_last(KEYS, tags), KEYS[1], tag_ttl)
)lua";

// A load that began before one of its tags was erased read the database before, too. `at` and `stamp` are epoch and number in
// the order of the shard's announcements; numbers of different epochs have no order, but what is of the epoch in force is
// younger than what is of another.
constexpr std::string_view fill_tags = R"lua(
local function erased_since(at_key, stamp, epoch)
  local at = redis.call('GET', at_key)
  if not at then return false end
  if #stamp < 9 then return true end
  if at:sub(1, 8) ~= stamp:sub(1, 8) then return stamp:sub(1, 8) ~= epoch end
  return tonumber(at:sub(9)) > tonumber(stamp:sub(9))
end
local tags = tonumber(table.remove(ARGV))
local tag_ttl = tonumber(table.remove(ARGV))
local stamp = table.remove(ARGV)
local epoch = redis.call('GET', table.remove(KEYS))
for _, at in ipairs(take_last(KEYS, tags)) do
  if stamp ~= '*' and erased_since(at, stamp, epoch) then return 0 end
end
local sets = take_last(KEYS, tags)
join_tags(sets, KEYS[1], tag_ttl)
)lua";

// An epoch is set where none is, so that a load that meets an empty Redis knows of one as every other does.
constexpr std::string_view stamped_head = R"lua(
local candidate = table.remove(ARGV)
local epoch_key = table.remove(KEYS)
local seq_key = table.remove(KEYS)
local function unstamped()
)lua";
constexpr std::string_view stamped_tail = R"lua(
end
local r = unstamped()
if r ~= 1 then return r end
local e = redis.call('GET', epoch_key)
if not (e and #e == 8) then
  e = candidate
  redis.pcall('SET', epoch_key, e)
end
return {1, e .. (redis.call('GET', seq_key) or '0')}
)lua";

// In the erase's own step: between a DEL and a later ZREM a put could come, whose value would then bear a tag that does not know
// it. ZREM asks for no memory.
constexpr std::string_view leave_tag = R"lua(
local set = table.remove(KEYS)
redis.call('ZREM', set, unpack(KEYS, 1, tonumber(table.remove(ARGV))))
)lua";

// What makes an instance a member must succeed before its heartbeat is published: no instance can answer from L1 without being
// on the list. So no pcall; and ZREMRANGEBYSCORE first, which asks for no memory and lets what follows through where there is
// none. The list tells since when it exists: one that was lost may lack members until they beat again.
constexpr std::string_view join_members = R"lua(
local list = table.remove(KEYS)
local life = tonumber(table.remove(ARGV))
local origin = table.remove(ARGV)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', list, '-inf', now)
if redis.call('EXISTS', list) == 0 then redis.call('ZADD', list, '+inf', string.format('born:%.0f', now)) end
redis.call('ZADD', list, now + life, origin)
)lua";

constexpr std::string_view members_body = R"lua(
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local born = redis.call('ZRANGEBYSCORE', KEYS[1], '+inf', '+inf', 'LIMIT', 0, 1)[1]
local r = {redis.call('GET', KEYS[2]) or '', -1, redis.call('GET', KEYS[3]) or '0'}
if born then r[2] = now - tonumber(born:sub(6)) end
for _, origin in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '(+inf')) do r[#r + 1] = origin end
return r
)lua";

}  // namespace

const BulkScripts& bulk_scripts() {
  // Never destroyed, as scripts() is.
  static const BulkScripts& all = *new BulkScripts{
      script(join_tags, put_tags, scripts().put.text),
      script(join_tags, fill_tags, scripts().lease_fill.text),
      script(stamped_head, scripts().lease_get.text, stamped_tail),
      script(leave_tag, scripts().erase.text),
      script(join_members, scripts().heartbeat.text),
      script(members_body),
  };
  return all;
}

}  // namespace tiercache::l2
