// SPDX-License-Identifier: Apache-2.0
//
// The paths that touch many keys at a time, and what follows a put that Redis refused; the rest is in flow.cpp. Their rules:
//   B1  a tag is stamped before its members are looked at, and a fill is compared with the stamp in the step that stores;
//   B2  leases go before values, announcements stand on both sides (l2's clear);
//   B3  an instance has cleared when its heartbeat says that it applied the last announcement, or when the budget has passed
//       since: it validates L1 by heartbeats that came back, and one that came back after the announcement brought it along.
#include "flow.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <utility>

namespace tiercache::detail {
namespace {

constexpr std::chrono::milliseconds look_first{1};  // pauses between two looks at the members; doubles
constexpr std::chrono::milliseconds look_max{25};

auto ask(StoreCore& core, Driver& driver, const RemoteRequest& request, RemoteReply& reply) {
  return Waiting([&core, &driver, &request, &reply](std::coroutine_handle<> flow) {
    return driver.call(*core.remote, request, reply, flow);
  });
}

/// What an acknowledged clear said last to a shard.
struct Told {
  ShardId shard;
  std::uint64_t epoch;
  std::uint64_t sequence;  // 0: it could not be numbered, so nobody can confirm it
};

bool has_applied(const RemoteMember& member, const Told& told, const RemoteReply& now) {
  if (told.sequence == 0) return false;
  // Another epoch in force: Redis began anew since. Who has heard of that has voided everything.
  if (member.epoch != told.epoch) return member.epoch != 0 && member.epoch == now.epoch;
  // A number that was not given yet is of a count that was lost, and says nothing.
  return member.sequence >= told.sequence && member.sequence <= now.sequence;
}

/// What is known of those that have not confirmed yet.
struct Hearing {
  SteadyTime told_at;
  Duration budget;                  // own; a member's own counts where it is longer
  SteadyTime all_lapsed;            // when nobody that was ever seen can answer from before
  std::vector<std::string> behind;  // who may still do so, by name
};

void look_at(const Told& told, const RemoteReply& now, Hearing& hearing) {
  for (const RemoteMember& member : now.members) {
    constexpr Duration budget_max = std::chrono::hours(1);  // invalidation::Options allows no more
    const Duration theirs = std::clamp<Duration>(std::chrono::milliseconds(member.budget_ms), hearing.budget, budget_max);
    const SteadyTime lapse = hearing.told_at + std::chrono::duration_cast<SteadyTime::duration>(theirs);
    hearing.all_lapsed = std::max(hearing.all_lapsed, lapse);
    if (has_applied(member, told, now) || lapse <= std::chrono::steady_clock::now()) continue;
    if (std::find(hearing.behind.begin(), hearing.behind.end(), member.name) == hearing.behind.end())
      hearing.behind.push_back(member.name);
  }
}

Error unacknowledged(const std::vector<std::string>& behind, const std::optional<Error>& why) {
  constexpr std::size_t names_max = 16;
  std::string text = "the clear was done; ";
  if (behind.empty()) text += why ? "the instances could not be asked: " + why->message : "who else there is, is not known yet";
  else text += "not confirmed by ";
  for (std::size_t i = 0; i < std::min(behind.size(), names_max); ++i) text += (i == 0 ? "" : ", ") + behind[i];
  if (behind.size() > names_max) text += " and " + std::to_string(behind.size() - names_max) + " more";
  return Error{Errc::unacknowledged, std::move(text)};
}

/// Waits until every instance has applied what it was told, or can answer nothing from L1 any more (B3).
Flow<Result<void>> hear_all(BulkCall& call, std::vector<Told> told) {
  StoreCore& core = call.core;
  Hearing hearing{std::chrono::steady_clock::now(), core.config.bus.staleness_budget, {}, {}};
  const SteadyTime own_lapse = hearing.told_at + std::chrono::duration_cast<SteadyTime::duration>(hearing.budget);
  hearing.all_lapsed = own_lapse;
  bool ever_answered = false;
  Duration nap = look_first;
  for (;;) {
    std::optional<Error> why;
    bool whole_list = true;
    std::vector<std::string> behind_before = std::exchange(hearing.behind, {});
    for (const Told& shard : told) {
      RemoteRequest request;
      request.op = RemoteOp::members;
      request.shard = shard.shard;
      request.deadline = call.deadline.sooner(Deadline::after(core.config.l2.call_timeout));
      RemoteReply now;
      co_await ask(core, call.driver, request, now);
      if (now.error) {
        why = std::move(now.error);
        break;
      }
      // A list that was lost and began anew lacks those that have not beaten since; their budget is taken to be ours.
      if (now.count < hearing.budget / std::chrono::milliseconds(1)) whole_list = false;
      look_at(shard, now, hearing);
    }
    if (why) hearing.behind = std::move(behind_before);  // what the last look showed that was answered
    ever_answered = ever_answered || !why;
    const SteadyTime now = std::chrono::steady_clock::now();
    const bool confirmed = !why && hearing.behind.empty() && (whole_list || now >= own_lapse);
    if (confirmed || (ever_answered && now >= hearing.all_lapsed)) co_return Result<void>{};
    if (call.deadline.passed() || now >= hearing.all_lapsed) {
      core.errors.count(Errc::unacknowledged);
      co_return unacknowledged(hearing.behind, why);
    }
    const Duration pause = std::min<Duration>({nap, call.deadline.left(), Deadline(hearing.all_lapsed).left()});
    nap = std::min<Duration>(nap * 2, look_max);
    if (pause <= Duration::zero()) continue;
    co_await Waiting([&](std::coroutine_handle<> flow) { return call.driver.pause(pause, flow); });
  }
}

}  // namespace

Flow<Result<WriteToken>> clear_flow(BulkCall& call, std::string_view pattern) {
  StoreCore& core = call.core;
  Result<WriteToken> result = WriteToken{};
  std::vector<Told> told;
  for (std::uint32_t n_shard = 0; core.has_remote() && n_shard < core.keys.shard_count(); ++n_shard) {
    const auto shard = static_cast<ShardId>(n_shard);
    RemoteRequest request;
    request.op = call.view != nullptr ? RemoteOp::clear : RemoteOp::clear_all;
    request.shard = shard;
    if (call.view != nullptr) request.type = call.view->name;
    request.pattern = pattern;
    request.hurry = call.acknowledged;
    request.write_id = core.writes.next();
    request.deadline = call.deadline;
    RemoteReply reply;
    co_await ask(core, call.driver, request, reply);
    told.push_back({shard, reply.epoch, reply.sequence});
    add_outcome(result, outcome(core, shard, std::move(reply)));
  }
  // After the answers, or without them: voids entries, fills asked for before, and flights, whose generation no longer matches.
  // L1 does not know which of its entries match a pattern; the view's are all that can be told from others in O(1).
  if (call.view != nullptr) {
    call.view->clears.fetch_add(1, std::memory_order_acq_rel);
  } else {
    for (std::uint32_t shard = 0; shard < core.keys.shard_count(); ++shard) core.coherence.clear(static_cast<ShardId>(shard));
  }
  if (!result.ok() || !call.acknowledged || !core.has_remote()) co_return result;
  if (Result<void> heard = co_await hear_all(call, std::move(told)); !heard) co_return std::move(heard).error();
  co_return result;
}

Flow<Result<WriteToken>> erase_tag_flow(WriteCall& call, std::string_view tag) {
  StoreCore& core = call.core;
  // L1 alone does not know who bears a tag.
  if (!core.has_remote()) call.view.clears.fetch_add(1, std::memory_order_acq_rel);
  Result<WriteToken> result = WriteToken{};
  for (std::uint32_t n_shard = 0; core.has_remote() && n_shard < core.keys.shard_count(); ++n_shard) {
    RemoteRequest request;
    request.op = RemoteOp::tag_stamp;  // B1
    request.shard = static_cast<ShardId>(n_shard);
    request.type = call.view.name;
    request.tag = tag;
    request.write_id = core.writes.next();
    request.deadline = call.deadline;
    for (bool more = true; more;) {
      RemoteReply reply;
      co_await ask(core, call.driver, request, reply);
      if (reply.error) {
        add_outcome(result, outcome(core, request.shard, std::move(reply)));
        more = false;
      } else if (request.op == RemoteOp::tag_stamp) {
        request.op = RemoteOp::tag_members;
      } else if (more = !reply.keys.empty(); more) {
        std::vector<Key> keys;
        for (const std::string& text : reply.keys) {
          if (const auto parts = core.keys.parse(text)) keys.push_back({parts->id, {text, request.shard}});
        }
        call.tag = tag;
        Result<WriteToken> erased = co_await erase_flow(call, keys);
        more = erased.ok();
        add_outcome(result, std::move(erased));
      } else {
        add_outcome(result, outcome(core, request.shard, std::move(reply)));
      }
    }
  }
  // A load in progress that was to bear the tag fills nothing any more, but later callers must not join it.
  call.view.tag_erases.fetch_add(1, std::memory_order_acq_rel);
  co_return result;
}

Flow<Error> erase_instead(WriteCall& call, const Key& key, Error refusal) {
  // DEL is what Redis takes when it is out of memory; read-only or without its replicas it takes nothing, and then validates no
  // L1 either.
  if (lab::ablated(lab::Remedy::refused_put)) co_return refusal;
  // The version itself must not be left behind, or the same put, tried again, would be superseded by what never stood. The one
  // before it still keeps older ones out.
  if (call.version != 0) --call.version;
  const Result<WriteToken> erased = co_await erase_flow(call, {&key, 1});
  refusal.message += erased ? "; the key was erased instead" : "; nor could the key be erased: " + erased.error().message;
  co_return refusal;
}

}  // namespace tiercache::detail
