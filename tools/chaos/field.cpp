// SPDX-License-Identifier: Apache-2.0
#include "field.hpp"

#include "clock.hpp"
#include "evidence.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace tiercache::chaos {
namespace {

using testing::LinkFault;
using testing::RedisServer;
using testing::TcpProxy;
using Only = LinkFault::Only;

constexpr std::int64_t promotion_max_ns = 10 * demo::ns_per_s;

testing::RedisServerOptions server_options() {
  testing::RedisServerOptions options;
  options.args = {"--enable-debug-command", "local", "--repl-diskless-sync-delay", "0", "--appendonly", "no"};
  return options;
}

}  // namespace

Field::Field(unsigned instances, std::int64_t budget_ns, std::uint64_t seed) : budget_(budget_ns), random_(seed) {
  for (auto& server : servers_) server = std::make_unique<RedisServer>(server_options());
  for (unsigned i = 0; i < instances; ++i) proxies_.push_back(std::make_unique<TcpProxy>(master().port()));
  replication_ = std::make_unique<TcpProxy>(master().port());
}

void Field::open(const Board& board) {
  board_ = &board;
  for (unsigned i = 0; i < proxies_.size(); ++i) {
    if (auto started = children_.start(i, board.fd()); !started) throw std::runtime_error(started.error().message);
  }
}

std::int64_t Field::some(double from, double to) {
  return static_cast<std::int64_t>((from + (to - from) * random_.unit()) * static_cast<double>(budget_));
}
std::chrono::milliseconds Field::some_ms(double from, double to) {
  return std::chrono::milliseconds(std::max<std::int64_t>(1, some(from, to) / demo::ns_per_ms));
}

bool Field::redis_answers(const Fault& fault) noexcept {
  switch (fault.kind) {
    case FaultKind::redis_kill_empty:
    case FaultKind::redis_stop:
    case FaultKind::debug_sleep: return false;
    case FaultKind::redis_kill_snapshot: return fault.phase == 0;
    default: return true;
  }
}

void Field::lose() {
  if (!std::exchange(losing_, true)) board_->header().losses.fetch_add(1);
}
void Field::losses_noticed() {
  if (std::exchange(losing_, false)) board_->header().losses.fetch_add(1);
}

void Field::begin(Fault& fault, std::int64_t now) {
  fault.began = now;
  fault.ends = now;
  fault.mark = evidence(fault);
  if (info(fault.kind).lane == Lane::redis) begin_redis(fault, now);
  else begin_instance(fault, now);
}

void Field::begin_redis(Fault& fault, std::int64_t now) {
  switch (fault.kind) {
    case FaultKind::redis_kill_empty:
      lose();
      master().kill9();
      fault.ends = now + some(0.05, 1.5);
      return;
    case FaultKind::redis_kill_snapshot:
      master().command({"SAVE"});
      fault.ends = now + some(0.5, 3);
      return;
    case FaultKind::redis_stop:
      master().pause();
      fault.verified = stands_still(master().pid());
      fault.ends = now + some(0.2, 3);
      return;
    case FaultKind::debug_sleep: {
      const std::int64_t length = some(0.2, 2);
      send_only({"DEBUG", "SLEEP", std::to_string(static_cast<double>(length) / 1e9)});
      fault.ends = now + length;
      return;
    }
    case FaultKind::flush_all:
      lose();
      fault.verified = master().command({"FLUSHALL"}) == "OK";
      return;
    case FaultKind::out_of_memory:
      master().command({"CONFIG", "SET", "maxmemory", "1"});
      fault.ends = now + some(0.3, 2);
      return;
    case FaultKind::eviction:
      lose();
      evict();
      fault.ends = now + some(0.3, 2);
      return;
    case FaultKind::replica_promoted:
    case FaultKind::master_isolated:
      follow_master();
      fault.ends = now + promotion_max_ns;
      return;
    case FaultKind::script_flush:
      master().command({"SCRIPT", "FLUSH"});
      fault.ends = now + some(0.1, 0.3);
      return;
    case FaultKind::foreign_value: fault.verified = copy_foreign_values() != 0; return;
    default: return;
  }
}

void Field::begin_instance(Fault& fault, std::int64_t now) {
  TcpProxy& link = proxy(fault);
  double from = 0.2;
  double to = 2.5;
  switch (fault.kind) {
    case FaultKind::instance_kill:
      // As a host that dies: nothing that it had sent and nobody had read is delivered any more.
      children_.kill9(fault.target);
      fault.verified = is_gone(block(fault).pid.load());
      link.cut();
      block(fault).coherent_since.store(0);
      from = 0.01, to = 1;
      break;
    case FaultKind::instance_stop:
      children_.pause(fault.target);
      fault.verified = stands_still(block(fault).pid.load());
      break;
    case FaultKind::client_kill_data:
      fault.verified = above_zero(master().command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}));
      return;
    case FaultKind::client_kill_pubsub:
      fault.verified = above_zero(master().command({"CLIENT", "KILL", "TYPE", "pubsub"}));
      return;
    case FaultKind::output_buffer:
      overflows_before_ = overflows();
      master().command({"CONFIG", "SET", "client-output-buffer-limit", "pubsub 262144 131072 1"});
      link.set(TcpProxy::to_client, LinkFault::stall().on(Only::subscribers));
      from = 1, to = 2;
      break;
    case FaultKind::reader_stopped: block(fault).stop_reader.store(true); break;
    case FaultKind::bus_link_cut:
      block(fault).cut_link.store(true);
      from = 0.2, to = 0.9;  // the validity outlasts it: only the reconnect can tell what was missed
      break;
    case FaultKind::blackhole_to_server: link.set(TcpProxy::to_server, LinkFault::blackhole()); break;
    case FaultKind::blackhole_to_client: link.set(TcpProxy::to_client, LinkFault::blackhole()); break;
    case FaultKind::blackhole_bus: link.set(TcpProxy::to_client, LinkFault::blackhole().on(Only::subscribers)); break;
    case FaultKind::half_open:
      link.set(TcpProxy::to_server, LinkFault::blackhole());
      link.set(TcpProxy::to_client, LinkFault::blackhole());
      link.accept(TcpProxy::Accept::half_open);
      break;
    case FaultKind::links_reset:
      link.accept(TcpProxy::Accept::refuse);
      link.cut();
      to = 1.5;
      break;
    case FaultKind::delay:
      link.set(TcpProxy::to_server, LinkFault::delay(some_ms(0.01, 0.6)));
      link.set(TcpProxy::to_client, LinkFault::delay(some_ms(0.01, 0.6)));
      break;
    case FaultKind::late_answers: {
      std::string padding(16, static_cast<char>('a' + random_.below(26)));
      link.set(TcpProxy::to_client, LinkFault::delay(some_ms(0.55, 0.9), std::move(padding)).on(Only::others));
      break;
    }
    case FaultKind::late_writes: {
      std::string padding(16, static_cast<char>('a' + random_.below(26)));
      link.set(TcpProxy::to_server, LinkFault::delay(some_ms(1.2, 2.5), std::move(padding)).on(Only::others));
      break;
    }
    case FaultKind::dribble:
      link.set(TcpProxy::to_server, LinkFault::dribble(std::chrono::milliseconds(1)));
      link.set(TcpProxy::to_client, LinkFault::dribble(std::chrono::milliseconds(1)));
      break;
    case FaultKind::truncate: link.set(TcpProxy::to_client, LinkFault::truncate(50 + random_.below(4000))); break;
    case FaultKind::flip:
      // Only values: nothing but TCP's own checks guards a command, or an invalidation, against another key in its place.
      link.set(TcpProxy::to_client, LinkFault::flip_in("TCE", random_.below(100)).on(Only::others));
      break;
    case FaultKind::loader_slow: block(fault).loader.store(LoaderMode::slow); break;
    case FaultKind::loader_throws: block(fault).loader.store(LoaderMode::throws); break;
    case FaultKind::loader_hangs: block(fault).loader.store(LoaderMode::hangs); break;
    default: return;
  }
  from = std::min(to, std::max(from, board_->settings().outage_min));
  fault.ends = now + some(from, to);
}

bool Field::turn(Fault& fault, std::int64_t now) {
  look_during(fault, now);
  if (!go_on(fault, now)) return false;
  fault.verified = fault.verified || evidence(fault) != fault.mark;
  return true;
}

bool Field::go_on(Fault& fault, std::int64_t now) {
  switch (fault.kind) {
    case FaultKind::redis_kill_snapshot: return turn_snapshot(fault, now);
    case FaultKind::replica_promoted:
    case FaultKind::master_isolated: return turn_promotion(fault, now);
    case FaultKind::output_buffer: return turn_output_buffer(fault, now);
    default: break;
  }
  if (now < fault.ends) return false;
  end(fault);
  return true;
}

void Field::end(Fault& fault) {
  TcpProxy& link = proxy(fault);
  switch (fault.kind) {
    case FaultKind::redis_kill_empty: return master().restart(RedisServer::Data::empty);
    case FaultKind::redis_stop: return master().resume();
    case FaultKind::debug_sleep: fault.verified = answered_ok(); return;
    case FaultKind::out_of_memory: master().command({"CONFIG", "SET", "maxmemory", "0"}); return;
    case FaultKind::eviction:
      master().command({"CONFIG", "SET", "maxmemory", "0"});
      master().command({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
      return;
    case FaultKind::instance_kill:
      if (auto started = children_.start(fault.target, board_->fd()); !started) throw std::runtime_error(started.error().message);
      return;
    case FaultKind::instance_stop: return children_.resume(fault.target);
    case FaultKind::reader_stopped: return block(fault).stop_reader.store(false);
    case FaultKind::bus_link_cut: return block(fault).cut_link.store(false);
    case FaultKind::blackhole_to_server:
    case FaultKind::blackhole_to_client:
    case FaultKind::blackhole_bus:
    case FaultKind::half_open: return link.restore();
    case FaultKind::links_reset:
    case FaultKind::delay:
    case FaultKind::late_answers:
    case FaultKind::late_writes:
    case FaultKind::dribble:
    case FaultKind::truncate:
    case FaultKind::flip: return link.heal();
    case FaultKind::loader_slow:
    case FaultKind::loader_throws:
    case FaultKind::loader_hangs: return block(fault).loader.store(LoaderMode::usual);
    default: return;
  }
}

bool Field::turn_snapshot(Fault& fault, std::int64_t now) {
  if (now < fault.ends) return false;
  if (fault.phase++ == 0) {
    lose();
    master().kill9();
    fault.ends = now + some(0.01, 1);
    return false;
  }
  master().restart(RedisServer::Data::rdb);
  fault.verified = info_number(master().command({"INFO", "persistence"}), "rdb_last_load_keys_loaded") != 0;
  return true;
}

bool Field::turn_output_buffer(Fault& fault, std::int64_t now) {
  // Until Redis has closed the link: bytes on the channel that nobody takes for a message.
  if (fault.phase == 0 && now >= fault.next_step) {
    fault.next_step = now + 20 * demo::ns_per_ms;
    const std::string channel = std::string("chaos:") + board_->settings().resource + ":!bus";
    for (int i = 0; i < 4; ++i) master().command({"PUBLISH", channel, std::string(256 << 10, 'x')});
    if (overflows() > overflows_before_) fault.phase = 1;
  }
  if (now < fault.ends) return false;
  fault.void_ = fault.phase == 0;
  fault.verified = !fault.void_;
  proxy(fault).heal();
  master().command({"CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60"});
  return true;
}

/// How often the master closed a client that did not read, by its log.
std::uint64_t Field::overflows() const {
  const std::string log = master().log();
  std::uint64_t n = 0;
  constexpr std::string_view line = "overcoming of output buffer limits";
  for (std::size_t at = log.find(line); at != std::string::npos; at = log.find(line, at + line.size())) ++n;
  return n;
}

void Field::evict() {
  const std::uint64_t used = info_number(master().command({"INFO", "memory"}), "used_memory");
  master().command({"CONFIG", "SET", "maxmemory-policy", "allkeys-random"});
  master().command({"CONFIG", "SET", "maxmemory", std::to_string(used / 10 * 8)});
}

std::uint64_t Field::copy_foreign_values() {
  // Of keys that are erased, not put: a versioned key would lose its version with the bytes.
  const std::string prefix = std::string("chaos:") + board_->settings().resource + ":cell:k";
  std::uint64_t copied = 0;
  for (int i = 0; i < 64; ++i) {
    const auto key = [&] { return prefix + std::to_string(random_.below(board_->settings().keys / 16) * 4 + random_.below(2)); };
    copied += above_zero(master().command({"COPY", key(), key(), "REPLACE"})) ? 1 : 0;
  }
  return copied;
}

/// Waits for the answer to what send_only() sent.
bool Field::answered_ok() {
  void* reply = nullptr;
  const bool ok = unanswered_ && redisSetTimeout(unanswered_.get(), timeval{5, 0}) == REDIS_OK &&
                  redisGetReply(unanswered_.get(), &reply) == REDIS_OK && reply != nullptr &&
                  static_cast<const redisReply*>(reply)->type == REDIS_REPLY_STATUS;
  if (reply != nullptr) freeReplyObject(reply);
  unanswered_.reset();
  return ok;
}

void Field::send_only(const std::vector<std::string>& argv) {
  unanswered_.reset(redisConnectWithTimeout("127.0.0.1", master().port(), timeval{1, 0}));
  if (!unanswered_ || unanswered_->err != 0) throw std::runtime_error("cannot connect to Redis");
  std::vector<const char*> parts;
  std::vector<std::size_t> sizes;
  for (const std::string& a : argv) parts.push_back(a.data()), sizes.push_back(a.size());
  redisAppendCommandArgv(unanswered_.get(), static_cast<int>(argv.size()), parts.data(), sizes.data());
  for (int done = 0; done == 0;) {
    if (redisBufferWrite(unanswered_.get(), &done) != REDIS_OK) throw std::runtime_error("cannot send to Redis");
  }
}

}  // namespace tiercache::chaos
