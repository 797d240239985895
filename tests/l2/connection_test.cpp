// SPDX-License-Identifier: Apache-2.0
#include "l2_test.hpp"
#include "tcp_proxy.hpp"

#include <tiercache/l2/connection.hpp>

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <future>

namespace tiercache::testing {
namespace {

using l2::Connection;

Result<std::unique_ptr<Connection>> open(const std::string& url, std::chrono::milliseconds within = 5s) {
  return Connection::open(Client::options_of(url), Deadline::after(within));
}
std::string text(Connection& c, std::initializer_list<std::string_view> argv) {
  auto r = c.call(std::span(argv.begin(), argv.size()), Deadline::after(5s));
  return r ? r->text : "failed: " + r.error().message;
}

TEST(Connection, TheHandshakeTellsWhomWeTalkTo) {
  RedisServer server;
  auto c = open(server.url());
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ((*c)->peer(), "127.0.0.1:" + std::to_string(server.port()));
  EXPECT_EQ((*c)->run_id().size(), 40U);
  EXPECT_NE(server.command({"INFO", "server"}).find("run_id:" + (*c)->run_id()), std::string::npos);
  EXPECT_EQ((*c)->role(), "master");
  EXPECT_EQ(text(**c, {"CLIENT", "GETNAME"}), "tiercache");
  EXPECT_TRUE((*c)->quiet());
}

TEST(Connection, PasswordAndUserAreSent) {
  RedisServer server{{.password = "p:w @/%"}};
  l2::Options o = Client::options_of("redis://127.0.0.1:" + std::to_string(server.port()));
  o.password = "p:w @/%";
  EXPECT_TRUE(Connection::open(o, Deadline::after(5s)).ok());

  ASSERT_EQ(server.command({"ACL", "SETUSER", "alice", "on", ">wonder", "~*", "&*", "+@all"}), "OK");
  auto c = open("redis://alice:wonder@127.0.0.1:" + std::to_string(server.port()));
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(text(**c, {"ACL", "WHOAMI"}), "alice");
}

TEST(Connection, AWrongPasswordIsRefusedAndNeverPrinted) {
  RedisServer server{{.password = "right"}};
  for (const char* const url : {"redis://:hunter2@127.0.0.1:", "redis://bob:hunter2@127.0.0.1:"}) {
    auto c = open(url + std::to_string(server.port()));
    ASSERT_FALSE(c.ok());
    EXPECT_EQ(c.error().code, Errc::refused);
    EXPECT_NE(c.error().message.find("AUTH: WRONGPASS"), std::string::npos) << c.error().message;
    EXPECT_EQ(c.error().message.find("hunter2"), std::string::npos);
  }
  auto none = open("redis://127.0.0.1:" + std::to_string(server.port()));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Errc::refused);
  EXPECT_NE(none.error().message.find("NOAUTH"), std::string::npos) << none.error().message;
}

TEST(Connection, TheDatabaseIsSelected) {
  RedisServer server;
  auto c = open(server.url(3));
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(text(**c, {"SET", "k", "v"}), "OK");
  EXPECT_EQ(server.command({"GET", "k"}), "(nil)");  // in database 0
  EXPECT_NE(server.command({"INFO", "keyspace"}).find("db3:keys=1"), std::string::npos);
  auto missing = open(server.url(99));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::refused);
  EXPECT_NE(missing.error().message.find("SELECT"), std::string::npos);
}

TEST(Connection, ArgumentsAreLengthPrefixedSoThatNoByteIsSpecial) {
  RedisServer server;
  auto c = open(server.url());
  ASSERT_TRUE(c.ok());
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  all += "\r\n$3\r\n*1\r\n";
  EXPECT_EQ(text(**c, {"ECHO", all}), all);
  EXPECT_EQ(text(**c, {"ECHO", ""}), "");
  const std::string big(8U << 20, 'x');
  EXPECT_EQ(text(**c, {"ECHO", big}), big);
}

TEST(Connection, ARedisErrorIsAReplyAndLeavesTheConnectionWhole) {
  RedisServer server;
  auto c = open(server.url());
  ASSERT_TRUE(c.ok());
  const std::string_view nonsense[] = {"NONSENSE"};
  auto r = (*c)->call(nonsense, Deadline::after(5s));
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->type, l2::Reply::Type::error);
  EXPECT_TRUE(r->text.starts_with("ERR unknown command"));
  EXPECT_FALSE((*c)->broken());
  EXPECT_EQ(text(**c, {"PING"}), "PONG");
}

TEST(Connection, NestedRepliesKeepTheirShape) {
  RedisServer server;
  auto c = open(server.url());
  ASSERT_TRUE(c.ok());
  const std::string_view argv[] = {"EVAL", "return {1, {'a', {2, false}, 'b'}, {}, redis.status_reply('fine')}", "0"};
  auto r = (*c)->call(argv, Deadline::after(5s));
  ASSERT_TRUE(r.ok());
  ASSERT_EQ(r->elements.size(), 4U);
  EXPECT_EQ(r->elements[0].integer, 1);
  ASSERT_EQ(r->elements[1].elements.size(), 3U);
  EXPECT_EQ(r->elements[1].elements[0].text, "a");
  ASSERT_EQ(r->elements[1].elements[1].elements.size(), 2U);
  EXPECT_EQ(r->elements[1].elements[1].elements[0].integer, 2);
  EXPECT_EQ(r->elements[1].elements[1].elements[1].type, l2::Reply::Type::nil);
  EXPECT_EQ(r->elements[1].elements[2].text, "b");
  EXPECT_EQ(r->elements[2].type, l2::Reply::Type::array);
  EXPECT_TRUE(r->elements[2].elements.empty());
  EXPECT_EQ(r->elements[3].type, l2::Reply::Type::status);
  EXPECT_EQ(r->elements[3].text, "fine");
}

TEST(Connection, NobodyListeningIsUnavailableAndNamesThePeer) {
  const std::string peer = "127.0.0.1:" + std::to_string(RedisServer::free_port());
  auto c = open("redis://:hunter2@" + peer);
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.error().code, Errc::unavailable);
  EXPECT_TRUE(c.error().message.starts_with(peer)) << c.error().message;
  EXPECT_EQ(c.error().message.find("hunter2"), std::string::npos);
}

TEST(Connection, AHostNameIsResolved) {
  RedisServer server;
  EXPECT_TRUE(open("redis://localhost:" + std::to_string(server.port())).ok());
}

TEST(Connection, APeerThatAcceptsAndNeverAnswersEndsAtTheDeadline) {
  TcpProxy proxy(1);
  proxy.accept(TcpProxy::Accept::half_open);
  const Stopwatch watch;
  auto c = open("redis://127.0.0.1:" + std::to_string(proxy.port()), 150ms);
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.error().code, Errc::deadline_exceeded);
  EXPECT_GE(watch.elapsed(), 149ms);
  EXPECT_LT(watch.elapsed(), 150ms + slack);
}

TEST(Connection, OpeningIsGivenUpWhenTheCancelDescriptorIsReadable) {
  TcpProxy proxy(1);
  proxy.accept(TcpProxy::Accept::half_open);
  const int cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  auto opening = std::async(std::launch::async, [&] {
    return Connection::open(Client::options_of("redis://127.0.0.1:" + std::to_string(proxy.port())), Deadline::after(30s),
                            cancel);
  });
  ASSERT_TRUE(eventually([&] { return proxy.connections() == 1; }));
  eventfd_write(cancel, 1);
  ASSERT_EQ(opening.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(opening.get().error().code, Errc::unavailable);
  close(cancel);
}

TEST(Connection, ShutdownFromAnotherThreadEndsAWaitingReceive) {
  RedisServer server;
  auto c = open(server.url());
  ASSERT_TRUE(c.ok());
  auto receiving = std::async(std::launch::async, [&] { return (*c)->receive(Deadline::after(30s)); });
  (*c)->shutdown();
  ASSERT_EQ(receiving.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(receiving.get().error().code, Errc::unavailable);
  EXPECT_TRUE((*c)->broken());
}

TEST(Connection, APeerThatNeverReadsEndsTheSendAtTheDeadline) {
  RedisServer server;
  TcpProxy proxy(server.port());
  auto c = open(server.url_at(proxy.port()));
  ASSERT_TRUE(c.ok());
  proxy.set(TcpProxy::to_server, LinkFault::stall());
  const std::string big(64U << 20, 'x');
  (*c)->append({"ECHO", big});
  const Stopwatch watch;
  const auto sent = (*c)->flush(Deadline::after(150ms));
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, Errc::deadline_exceeded);
  EXPECT_TRUE((*c)->bytes_sent());
  EXPECT_TRUE((*c)->broken());
  EXPECT_LT(watch.elapsed(), 150ms + slack);
}

TEST(Connection, ADeadlineThatPassedBeforeTheFirstByteSendsNothingAndHarmsNothing) {
  RedisServer server;
  auto c = open(server.url());
  ASSERT_TRUE(c.ok());
  (*c)->append({"SET", "k", "v"});
  const auto sent = (*c)->flush(Deadline::after(0ms));
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, Errc::deadline_exceeded);
  EXPECT_FALSE((*c)->bytes_sent());
  EXPECT_FALSE((*c)->broken());
  EXPECT_EQ(text(**c, {"EXISTS", "k"}), "");
  EXPECT_EQ(server.command({"EXISTS", "k"}), "0");
}

}  // namespace
}  // namespace tiercache::testing
