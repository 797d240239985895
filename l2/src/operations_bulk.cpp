// SPDX-License-Identifier: Apache-2.0
//
// Operations on many keys at a time: whole views, everything, tags; and who must have heard of it.
#include "operations_parts.hpp"
#include "scripts_bulk.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>

#include <algorithm>
#include <charconv>
#include <functional>
#include <utility>

namespace tiercache::l2 {
namespace {

// Deletes every key that matches `pattern` and that `wanted` accepts, in bounded batches.
Result<void> unlink_all(const std::string& pattern, const std::function<bool(std::string_view)>& wanted, Exchange& x,
                        std::int64_t& count) {
  std::string cursor = "0";
  do {
    auto page = x.call({"SCAN", cursor, "MATCH", pattern, "COUNT", "512"});
    if (!page) return page.error();
    if (page->type != Reply::Type::array || page->elements.size() != 2) return nonsense();
    cursor = page->elements[0].text;
    if (cursor.empty()) return nonsense();
    Views unlink = {"UNLINK"};
    for (const Reply& key : page->elements[1].elements) {
      if (wanted(key.text)) unlink.push_back(key.text);
    }
    if (unlink.size() == 1) continue;
    std::int64_t gone = 0;
    if (auto done = take_integer(x.call(unlink), gone); !done) return done;
    count += gone;
  } while (cursor != "0");
  return {};
}

// Names hold no glob signs; a tag's braces are none.
Result<void> unlink_below(const std::string& prefix, std::string_view glob, Exchange& x, std::int64_t& count) {
  return unlink_all(
      prefix + std::string(glob), [&](std::string_view key) { return key.starts_with(prefix); }, x, count);
}

// Announced before, so that nobody serves from L1 what is about to go; and after, for what was filled from L2 in between.
template <class Delete>
Result<void> between_announcements(MessageParts& m, const RemoteRequest& request, const Prepared& p, std::string_view most,
                                   Exchange& x, RemoteReply& reply, Delete&& unlink) {
  if (auto epoch = announce(m, p, most, x, reply); !epoch) return epoch.error();
  const auto rest = [&]() -> Result<void> {
    if (auto done = unlink(); !done) return done;
    if (request.hurry) m.hurry();
    if (auto epoch = announce(m, p, most, x, reply); !epoch) return epoch.error();
    return {};
  };
  if (auto done = rest(); !done) {
    Error error = std::move(done).error();
    if (error.code == Errc::refused) error.code = Errc::outcome_unknown;  // "refused" would promise that nothing changed
    error.message += " (the clear had begun: keys may stand)";
    return error;
  }
  reply.applied = true;
  return {};
}

// The number that `text` begins with, and what follows the colon behind it.
std::uint64_t take_number(std::string_view& text, int base) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n, base);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(':')) text.remove_prefix(1);
  return error == std::errc{} ? n : 0;
}

std::string hex(std::uint64_t n) {
  char digits[16];
  return {digits, std::to_chars(digits, digits + sizeof digits, n, 16).ptr};
}

}  // namespace

// All leases go before the first value does: SCAN finds each that stood when it began, so once the values are walked no load that
// began before can fill any more, and what it filled earlier is found. In one walk over both, it could fill behind the cursor,
// its lease being ahead of it.
Result<void> Operations::clear(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  MessageParts m(MessageParts::Kind::clear, request.shard, origin_, request.write_id);
  m.add(request.type, 0);
  const std::string_view glob = request.pattern.empty() ? "*" : request.pattern;
  return between_announcements(m, request, p, log_entries_, x, reply, [&]() -> Result<void> {
    std::int64_t leases = 0;
    if (auto done = unlink_below(names_.lease_prefix(request.type, p.names), glob, x, leases); !done) return done;
    return unlink_below(names_.data_prefix(request.type, p.names), glob, x, reply.count);
  });
}

// As clear, for what is any view's. Tags' sets go last: one that went before its members could be asked for in between and would
// name none.
Result<void> Operations::clear_all(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  MessageParts m(MessageParts::Kind::clear_all, request.shard, origin_, request.write_id);
  const std::string& prefix = names_.prefix();
  const auto is_data = [&](std::string_view key) { return names_.lease_of(key, p.names).has_value(); };
  return between_announcements(m, request, p, log_entries_, x, reply, [&]() -> Result<void> {
    std::int64_t others = 0;
    if (auto done = unlink_below(prefix + "!lease:" + p.names.tag, "*", x, others); !done) return done;
    if (auto done = unlink_all(prefix + "*", is_data, x, reply.count); !done) return done;
    return unlink_below(prefix + "!tag:" + p.names.tag, "*", x, others);
  });
}

// The number is taken by an announcement of the note's own key, which is nobody's data: a number without an announcement would be
// a loss to every reader. Fills are compared with the note from when it stands; what was filled up to then is found among the
// tag's members, which are looked at afterwards.
Result<void> Operations::tag_stamp(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  const std::string at = names_.tag_at(request.type, request.tag, p.names);
  MessageParts m(MessageParts::Kind::invalidate, request.shard, origin_, request.write_id);
  m.add(at, 0);
  auto epoch = announce(m, p, log_entries_, x, reply);
  if (!epoch) return epoch.error();
  Result<void> noted = Error{Errc::refused, "it could not be numbered"};
  if (reply.sequence != 0) {
    const std::string stamp = *epoch + std::to_string(reply.sequence);
    constexpr std::string_view an_hour = "3600000";  // flow_bulk.hpp: no load that took longer fills with tags
    if (auto r = x.call({"SET", at, stamp, "PX", an_hour}); !r) noted = r.error();
    else noted = {};
  }
  if (!noted && noted.error().code == Errc::refused) {
    // No memory for a note. Leases can be deleted without any: then no load of before may fill at all.
    std::int64_t leases = 0;
    noted = unlink_below(names_.lease_prefix(request.type, p.names), "*", x, leases);
  }
  reply.applied = noted.ok();
  return noted;
}

Result<void> Operations::tag_members(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  auto r = x.call({"ZRANGE", names_.tag_set(request.type, request.tag, p.names), "0", "511"});
  if (!r) return r.error();
  if (r->type != Reply::Type::array) return nonsense();
  const std::string prefix = names_.data_prefix(request.type, p.names);
  for (Reply& key : r->elements) {
    if (!key.text.starts_with(prefix)) return nonsense();  // not by our scripts
    reply.keys.push_back(std::move(key.text));
  }
  if (!reply.keys.empty()) return {};
  // Whoever erased the last of them has announced that before: what was announced up to now tells of all.
  auto at = x.call({"MGET", p.names.epoch, p.names.seq});
  if (!at) return at.error();
  if (at->type != Reply::Type::array || at->elements.size() != 2) return nonsense();
  if (at->elements[0].text.size() != 8) return {};
  std::string_view sequence = at->elements[1].text;
  reply.epoch = load_be<8>(at->elements[0].text.data());
  reply.sequence = take_number(sequence, 10);
  reply.stream = stream_id(reply.epoch, x.connection().run_id());
  return {};
}

Result<void> Operations::members(const RemoteRequest&, const Prepared& p, Exchange& x, RemoteReply& reply) const {
  auto r = x.run(bulk_scripts().members, Views{p.names.members, p.names.epoch, p.names.seq}, {});
  if (!r) return r.error();
  if (r->type != Reply::Type::array || r->elements.size() < 3 || r->elements[1].type != Reply::Type::integer) return nonsense();
  reply.epoch = r->elements[0].text.size() == 8 ? load_be<8>(r->elements[0].text.data()) : 0;
  reply.count = r->elements[1].integer;
  std::string_view sequence = r->elements[2].text;
  reply.sequence = take_number(sequence, 10);
  constexpr std::size_t first = 3;
  if (r->elements.size() == first) return {};
  std::vector<std::string> beats;
  for (std::size_t i = first; i < r->elements.size(); ++i) beats.push_back(names_.beat_of(r->elements[i].text, p.names));
  Views get = {"MGET"};
  get.insert(get.end(), beats.begin(), beats.end());
  auto states = x.call(get);
  if (!states) return states.error();
  if (states->type != Reply::Type::array || states->elements.size() != beats.size()) return nonsense();
  for (std::size_t i = 0; i < beats.size(); ++i) {
    RemoteMember member;
    std::string_view state = states->elements[i].text;
    take_number(state, 10);  // the beat's own
    member.epoch = take_number(state, 16);
    member.sequence = take_number(state, 10);
    member.budget_ms = static_cast<std::int64_t>(take_number(state, 10));
    member.name = state.empty() ? r->elements[first + i].text : state;
    reply.members.push_back(std::move(member));
  }
  return {};
}

std::vector<std::string> Operations::tag_sets(const RemoteRequest& request, const Prepared& p) const {
  std::vector<std::string> sets;
  for (const std::string& tag : request.tags) sets.push_back(names_.tag_set(names_.type_of(request.keys[0]), tag, p.names));
  return sets;
}

std::string Operations::beat_state(const RemoteRequest& request) const {
  return std::to_string(request.beat) + ":" + hex(request.epoch) + ":" + std::to_string(request.sequence) + ":" +
         std::to_string(request.budget_ms) + ":" + name_;
}

}  // namespace tiercache::l2
