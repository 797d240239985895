// SPDX-License-Identifier: Apache-2.0
#include "put_groups.hpp"

#include "message.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace tiercache::l2 {
namespace {

std::size_t weight(const RemoteRequest& r) noexcept { return r.keys.front().size() + r.head.size() + r.payload.size(); }

// Two: the server works on one while the other's callers wake and the next gather. More only make the groups smaller.
std::uint32_t lanes() noexcept {
#ifdef TIERCACHE_LAB
  return lab::put_lanes.load(std::memory_order_relaxed);
#else
  return 2;
#endif
}

}  // namespace

PutGroups::PutGroups(std::uint32_t shards, Counters& counters, Send send)
    : send_(std::move(send)), counters_(counters), queues_(std::make_unique<Queue[]>(std::max<std::uint32_t>(1, shards))) {}

std::optional<Error> PutGroups::run(const RemoteRequest& put, RemoteReply& reply) {
  Queue& q = queues_[put.shard];
  Member self{put, reply};
  Group group;  // empty: alone
  std::unique_lock lock(q.mutex);
  if (q.running < lanes()) {
    ++q.running;
    lock.unlock();
  } else {
    append(q, self);
    counters_.queued_puts.fetch_add(1, std::memory_order_relaxed);
    lock.unlock();
    if (!await_turn(q, self)) return std::move(self.error);
    lock.lock();
    gather(q, self, group);
    lock.unlock();
  }
  if (group.empty()) self.error = send_(put, reply);
  else send(group);
  hand_on(q);  // first: the next group is under way while this one's callers wake
  for (Member* const m : group) {
    if (m == &self) continue;
    const ParkWord* const word = &m->state;
    m->state.store(done, std::memory_order_release);  // (1) after its error and reply; from here on *m may be gone
    unpark(word);
  }
  return std::move(self.error);
}

/// True: it leads. False: it is answered.
bool PutGroups::await_turn(Queue& q, Member& self) {
  const Deadline deadline = self.request.deadline;
  for (;;) {
    const std::uint32_t state = self.state.load(std::memory_order_acquire);  // (2) pairs with (1)
    if (state == leads || state == done) return state == leads;
    if (state == queued && deadline.passed()) {
      const std::lock_guard lock(q.mutex);
      if (self.state.load(std::memory_order_relaxed) != queued) continue;
      remove(q, self);
      self.error = Error{Errc::deadline_exceeded, "its turn to be sent did not come in time"};
      return false;
    }
    // Once taken it is the leader's, whose request ends by the soonest deadline of its group.
    park(self.state, state, state == queued ? deadline.at() : SteadyTime::max());
  }
}

/// Takes out of the queue what goes with `leader`: what fits in, and whose time is of about the same length. The group has to end
/// by the soonest deadline, so nobody gives up more than half of the time that was left to it.
void PutGroups::gather(Queue& q, Member& leader, Group& group) noexcept {
  if (q.first == nullptr) return;
  try {
    group.reserve(puts_max);
  } catch (...) {
    return;  // without company, then
  }
  group.push_back(&leader);
  std::size_t bytes = weight(leader.request);
  std::size_t announced = MessageParts::head_bytes + MessageParts::item_bytes(leader.request.keys[0]);
  const SteadyTime now = std::chrono::steady_clock::now();
  const auto left = leader.request.deadline.at() - now;
  for (Member* m = q.first; m != nullptr && group.size() < puts_max;) {
    Member* const next = m->after;
    const auto its = m->request.deadline.at() - now;
    const bool of_a_time = its <= 2 * left && left <= 2 * its;
    const std::size_t item = MessageParts::item_bytes(m->request.keys[0]);
    if (of_a_time && bytes + weight(m->request) <= bytes_max && announced + item <= MessageParts::logged_max) {
      bytes += weight(m->request);
      announced += item;
      remove(q, *m);
      m->state.store(taken, std::memory_order_relaxed);
      group.push_back(m);
    }
    m = next;
  }
  if (group.size() == 1) group.clear();
}

void PutGroups::send(const Group& group) noexcept {
  try {
    send_as_one(group);
  } catch (...) {  // no memory, so no messages either
    for (Member* const m : group) m->error.emplace().code = Errc::outcome_unknown;
  }
}

void PutGroups::send_as_one(const Group& group) {
  std::vector<std::string> keys;
  std::vector<RemotePut> puts;
  keys.reserve(group.size());
  puts.reserve(group.size());
  RemoteRequest all;
  all.op = RemoteOp::put_many;
  all.shard = group.front()->request.shard;
  all.write_id = group.front()->request.write_id;
  for (const Member* const m : group) {
    const RemoteRequest& r = m->request;
    keys.push_back(r.keys.front());
    puts.push_back({r.head, r.payload, r.ttl_ms, r.version, r.if_newer});
    all.deadline = all.deadline.sooner(r.deadline);
  }
  all.keys = keys;
  all.puts = puts;
  counters_.put_groups.fetch_add(1, std::memory_order_relaxed);
  counters_.grouped_puts.fetch_add(group.size(), std::memory_order_relaxed);
  RemoteReply answer;
  const std::optional<Error> failed = send_(all, answer);
  const auto stored = failed ? 0 : std::count(answer.puts.begin(), answer.puts.end(), std::nullopt);
  for (std::size_t i = 0; i < group.size(); ++i) {
    Member& m = *group[i];
    if (failed) m.error = failed;
    else m.error = std::move(answer.puts[i]);
    m.reply.applied = !m.error;
    m.reply.epoch = answer.epoch;
    m.reply.sequence = answer.sequence;
    m.reply.stream = answer.stream;
    m.reply.announced_as = all.write_id;
    m.reply.announced_for = static_cast<std::uint32_t>(stored);
  }
}

/// Gives the lane to the first of the queue, or back.
void PutGroups::hand_on(Queue& q) noexcept {
  const ParkWord* word = nullptr;
  {
    const std::lock_guard lock(q.mutex);
    Member* const next = q.first;
    if (next == nullptr) {
      --q.running;
      return;
    }
    remove(q, *next);
    word = &next->state;
    next->state.store(leads, std::memory_order_release);  // (1)
  }
  unpark(word);
}

void PutGroups::append(Queue& q, Member& m) noexcept {
  m.before = q.last;
  (q.last != nullptr ? q.last->after : q.first) = &m;
  q.last = &m;
}

void PutGroups::remove(Queue& q, Member& m) noexcept {
  counters_.queued_puts.fetch_sub(1, std::memory_order_relaxed);
  (m.before != nullptr ? m.before->after : q.first) = m.after;
  (m.after != nullptr ? m.after->before : q.last) = m.before;
  m.before = m.after = nullptr;
}

}  // namespace tiercache::l2
