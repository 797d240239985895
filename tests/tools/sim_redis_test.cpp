// SPDX-License-Identifier: Apache-2.0
//
// The simulation's Redis against a redis-server. The real client works at random through a relay, which has both run each command
// and compares what they answer and publish; at the end the two must hold the same.
#include "redis.hpp"
#include "redis_server.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>
#include <tiercache/l2/client.hpp>

#include <gtest/gtest.h>
#include <hiredis/hiredis.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::sim {
namespace {

using tiercache::testing::RedisServer;

std::int64_t wall_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

struct FreeReply {
  void operator()(redisReply* r) const { freeReplyObject(r); }
};
struct FreeContext {
  void operator()(redisContext* c) const { redisFree(c); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;

Answer convert(const redisReply& r) {
  const std::string text(r.str != nullptr ? r.str : "", r.str != nullptr ? r.len : 0);
  switch (r.type) {
    case REDIS_REPLY_STRING: return Answer::string(text);
    case REDIS_REPLY_STATUS: return Answer::status(text);
    case REDIS_REPLY_ERROR: return Answer::error(text);
    case REDIS_REPLY_INTEGER: return Answer::of(r.integer);
    case REDIS_REPLY_ARRAY: {
      std::vector<Answer> all;
      for (std::size_t i = 0; i < r.elements; ++i) all.push_back(convert(*r.element[i]));
      return Answer::array(std::move(all));
    }
    default: return Answer::none();
  }
}

Answer ask(redisContext& c, const std::vector<std::string>& argv) {
  std::vector<const char*> texts;
  std::vector<std::size_t> sizes;
  for (const std::string& a : argv) texts.push_back(a.data()), sizes.push_back(a.size());
  const std::unique_ptr<redisReply, FreeReply> reply(
      static_cast<redisReply*>(redisCommandArgv(&c, static_cast<int>(argv.size()), texts.data(), sizes.data())));
  return reply ? convert(*reply) : Answer::error("LOST");
}

std::string shown(const Answer& a) {
  std::string out;
  write_answer(out, a);
  for (char& c : out)
    if (c < ' ' || c > '~') c = '.';
  return out.substr(0, 300);
}

/// Equal but for times, which the two read one after the other, and for what errors say behind their first word.
bool alike(const Answer& a, const Answer& b, bool tells_ages) {
  constexpr std::int64_t times = 2000;
  if (a.type != b.type) return false;
  if (a.type == Answer::Type::error) return a.text.substr(0, a.text.find(' ')) == b.text.substr(0, b.text.find(' '));
  if (a.type == Answer::Type::integer)
    return a.integer == b.integer || ((tells_ages || a.integer > 1000) && std::llabs(a.integer - b.integer) < times);
  if (a.text != b.text) {
    // Scores: the servers' clocks.
    return !a.text.empty() && a.text.find_first_not_of("0123456789") == a.text.npos && a.text.size() == 13 &&
           std::llabs(std::atoll(a.text.c_str()) - std::atoll(b.text.c_str())) < times;
  }
  return std::equal(a.elements.begin(), a.elements.end(), b.elements.begin(), b.elements.end(),
                    [&](const Answer& x, const Answer& y) { return alike(x, y, tells_ages); });
}

/// Members of one score, which is a time, stand in the order of their names, and a millisecond has come between for one server.
Answer in_any_order(Answer a) {
  std::sort(a.elements.begin(), a.elements.end(), [](const Answer& x, const Answer& y) { return x.text < y.text; });
  return a;
}

class Relay {
 public:
  explicit Relay(const RedisServer& server)
      : to_(redisConnect("127.0.0.1", server.port())),
        redis(lua_, "", {wall_ms, [this](std::string_view, std::string_view m) { published.emplace_back(m); }}) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0 || listen(listener_, 16) != 0) std::abort();
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port = ntohs(at.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Relay() {
    stopping_ = true;
    thread_.join();
    for (const auto& [fd, in] : clients_) close(fd);
    close(listener_);
  }

  std::uint16_t port = 0;
  std::atomic<std::uint64_t> compared{0};
  std::atomic<std::uint64_t> different{0};
  std::string first;                     // of the differences; read when the relay has ended
  std::vector<std::string> published{};  // by ours

 private:
  void run() {
    while (!stopping_) {
      std::vector<pollfd> polls{{listener_, POLLIN, 0}};
      for (const auto& [fd, in] : clients_) polls.push_back({fd, POLLIN, 0});
      if (poll(polls.data(), polls.size(), 20) <= 0) continue;
      if (polls[0].revents != 0) clients_[accept(listener_, nullptr, nullptr)];
      for (std::size_t i = 1; i < polls.size(); ++i)
        if (polls[i].revents != 0 && !serve(polls[i].fd)) close(polls[i].fd), clients_.erase(polls[i].fd);
    }
  }
  bool serve(int fd) {
    char bytes[65536];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    std::string& in = clients_[fd];
    in.append(bytes, static_cast<std::size_t>(n));
    std::string out;
    while (const auto argv = take_command(in)) write_answer(out, both(*argv));
    return out.empty() || send(fd, out.data(), out.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(out.size());
  }
  Answer both(const std::vector<std::string>& argv) {
    const Answer theirs = ask(*to_, argv);
    const std::string& name = argv[0];
    if (name == "CLIENT" || name == "INFO" || name == "SCAN" || name == "WAIT") return theirs;
    const Answer ours = redis.run(argv);
    ++compared;
    // Who the members are is asked with how old their list is.
    const bool members = argv.size() == 6 && argv[3].ends_with(":!members");
    if (name == "ZRANGE" ? alike(in_any_order(theirs), in_any_order(ours), false) : alike(theirs, ours, members)) return theirs;
    if (different++ == 0) {
      for (std::size_t i = 0; i < argv.size(); ++i)
        if (argv[0] != "EVAL" || i != 1) first += shown(Answer::status(argv[i]));
      first += "\nredis-server: " + shown(theirs) + "\nours:         " + shown(ours);
    }
    return theirs;
  }

  Context to_;
  Lua lua_;

 public:
  Redis redis;

 private:
  int listener_ = -1;
  std::map<int, std::string> clients_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

/// Requests at random, through one client.
class Worker {
 public:
  Worker(RemotePort& remote, std::uint64_t seed) : remote_(remote), random_(seed) {}

  void step() {
    constexpr std::array ops{RemoteOp::get,           RemoteOp::exists,     RemoteOp::put,        RemoteOp::put,
                             RemoteOp::put,           RemoteOp::erase,      RemoteOp::erase,      RemoteOp::lease_get,
                             RemoteOp::lease_get,     RemoteOp::lease_fill, RemoteOp::lease_fill, RemoteOp::lease_renew,
                             RemoteOp::lease_release, RemoteOp::remove_if,  RemoteOp::clear,      RemoteOp::heartbeat,
                             RemoteOp::heartbeat,     RemoteOp::ping,       RemoteOp::resync,     RemoteOp::gate,
                             RemoteOp::ungate,        RemoteOp::put_many,   RemoteOp::clear_all,  RemoteOp::tag_stamp,
                             RemoteOp::tag_members,   RemoteOp::members};
    RemoteRequest q;
    q.op = ops[below(ops.size())];
    if ((q.op == RemoteOp::clear || q.op == RemoteOp::clear_all) && below(4) != 0) return;
    std::vector<std::string> keys{key()};
    if (q.op == RemoteOp::get || q.op == RemoteOp::exists || q.op == RemoteOp::erase || q.op == RemoteOp::put_many)
      while (below(2) == 0) keys.push_back(key());
    q.type = "user";
    q.tag = below(2) == 0 ? "red" : "blue";
    q.token = below(2) == 0 ? "a:1" : "b:2";
    q.lease_ms = 60'000;
    q.version = below(2) == 0 ? 0 : 1 + below(20);
    q.if_newer = q.version != 0;
    q.ttl_ms = below(2) == 0 ? 0 : 600'000;
    q.write_id = ++writes_;
    q.beat = writes_;
    q.budget_ms = 500;
    q.stamp = stamp_;
    std::vector<std::string> tags;
    if (below(4) == 0) tags.emplace_back(q.tag);
    if (q.op == RemoteOp::put || q.op == RemoteOp::lease_fill) q.tags = tags;
    const bool by_tag = q.op == RemoteOp::erase && below(4) == 0;
    if (!by_tag && q.op == RemoteOp::erase) q.tag = {};
    if (by_tag) q.version = 0;
    const bool buries = q.op == RemoteOp::erase || q.op == RemoteOp::gate || q.op == RemoteOp::ungate;
    std::string heads;
    for (std::size_t i = 0; i < (buries ? keys.size() : 1); ++i) heads += head(q.version, buries);
    if (buries && q.version != 0) q.ttl_ms = 600'000;
    q.head = heads;
    const std::string payload = "value" + std::to_string(below(8));
    q.payload = payload;
    std::vector<std::string> many_heads;
    std::vector<RemotePut> puts;
    for (std::size_t i = 0; i < keys.size(); ++i) many_heads.push_back(head(q.version + i, false));
    for (std::size_t i = 0; i < keys.size(); ++i)
      puts.push_back({many_heads[i], payload, q.ttl_ms, q.version + i, q.version != 0});
    if (q.op == RemoteOp::put_many) q.puts = puts;
    if (q.op == RemoteOp::lease_get) q.head = {};
    if (q.op == RemoteOp::lease_fill && below(4) != 0) q.epoch = granted_;
    if (q.op == RemoteOp::resync) {
      q.epoch = epoch_;
      q.sequence = sequence_ - std::min<std::uint64_t>(sequence_, below(30));
    }
    q.keys = keys;
    q.deadline = Deadline::after(std::chrono::seconds(10));
    RemoteReply reply;
    remote_.start(q, reply, nullptr);
    if (!reply.stamp.empty()) stamp_ = reply.stamp, granted_ = reply.epoch;
    if (reply.epoch != 0 && reply.stamp.empty() && !reply.error) epoch_ = reply.epoch, sequence_ = reply.sequence;
  }

  std::uint64_t below(std::uint64_t n) { return random_() % n; }

 private:
  std::string key() { return "test:app:user:k" + std::to_string(below(6)); }
  static std::string head(std::uint64_t version, bool buries) {
    std::string h("TCE\1\0\1\1", 7);
    h += buries ? '\4' : '\0';
    append_be<8>(h, version);
    h.resize(48, 'h');
    return h;
  }

  RemotePort& remote_;
  std::mt19937_64 random_;
  std::uint64_t writes_ = 0, epoch_ = 0, sequence_ = 0, granted_ = 0;
  std::string stamp_;
};

/// What a server holds, as text. Of a log only its end: how much of the beginning is trimmed is the server's affair.
std::map<std::string, std::string> contents(const std::function<Answer(const std::vector<std::string>&)>& run,
                                            const std::set<std::string>& keys) {
  std::map<std::string, std::string> all;
  for (const std::string& key : keys) {
    Answer a = run({"GET", key});
    if (a.is_error()) a = in_any_order(run({"ZRANGE", key, "0", "-1"}));
    if (a.is_error()) a = run({"XREVRANGE", key, "+", "-", "COUNT", "60"});
    for (Answer& one : a.elements)
      if (one.text.starts_with("born:")) one.text.resize(5);  // and then the time
    const Answer ttl = run({"PTTL", key});
    all[key] = shown(a) + (ttl.integer > 0 ? " expires" : " stays");
  }
  return all;
}

TEST(SimulatedRedis, AnswersThePublicClientAsARedisServerDoes) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RedisServer server;
  std::vector<std::string> heard;
  std::map<std::string, std::string> ours;
  std::map<std::string, std::string> theirs;
  std::uint64_t compared = 0;
  {
    Relay relay(server);
    const Context ear(redisConnect("127.0.0.1", server.port()));
    ASSERT_EQ(ask(*ear, {"SUBSCRIBE", "test:app:!bus"}).type, Answer::Type::array);
    const Context hand(redisConnect("127.0.0.1", server.port()));
    {
      l2::Options options;
      options.url = "redis://127.0.0.1:" + std::to_string(relay.port);
      const auto client = l2::open_client(options, {"test", "app", 0x0102030405060708, 128}, Log{}, std::chrono::seconds(5));
      Worker worker(*client, seed);
      bool full = false;
      for (int i = 0; i < 6000; ++i) {
        worker.step();
        // Nobody asks the relay now, so both may be touched.
        switch (worker.below(150)) {
          case 0:
            full = !full;
            ask(*hand, {"CONFIG", "SET", "maxmemory", full ? "1" : "0"});
            relay.redis.full = full;
            break;
          case 1: ask(*hand, {"FLUSHALL"}), relay.redis.run({"FLUSHALL"}); break;
          case 2: ask(*hand, {"SCRIPT", "FLUSH"}), relay.redis.run({"SCRIPT", "FLUSH"}); break;
          case 3:
          case 4:
          case 5: {
            constexpr std::array keys{"!seq",     "!log",           "!epoch",        "!run",
                                      "!members", "!lease:user:k1", "!gate:user:k1", "!tag:user:red"};
            const std::string key = std::string("test:app:") + keys[worker.below(keys.size())];
            ask(*hand, {"DEL", key}), relay.redis.run({"DEL", key});
            break;
          }
          default: break;
        }
        if (relay.different != 0) break;
      }
      ask(*hand, {"CONFIG", "SET", "maxmemory", "0"});
      relay.redis.full = false;
    }
    compared = relay.compared;
    EXPECT_EQ(relay.different, 0U) << relay.first;
    std::set<std::string> keys;
    for (const Answer& key : ask(*hand, {"KEYS", "*"}).elements) keys.insert(key.text);
    for (const auto& [key, stored] : relay.redis.keys) keys.insert(key);
    theirs = contents([&](const auto& argv) { return ask(*hand, argv); }, keys);
    ours = contents([&](const auto& argv) { return relay.redis.run(argv); }, keys);
    for (std::size_t i = 0; i < relay.published.size(); ++i) {
      void* reply = nullptr;
      ASSERT_EQ(redisGetReply(ear.get(), &reply), REDIS_OK);
      const std::unique_ptr<redisReply, FreeReply> message(static_cast<redisReply*>(reply));
      ASSERT_EQ(convert(*message).elements.at(2).text, relay.published[i]) << "message " << i;
    }
    EXPECT_GT(relay.published.size(), 1000U);
  }
  for (const auto& [key, held] : theirs) EXPECT_EQ(held, ours[key]) << key;
  EXPECT_GT(compared, 5000U);
}

}  // namespace
}  // namespace tiercache::sim
