// SPDX-License-Identifier: Apache-2.0
//
// What the chaos run asks of the proxy beside what other tests do: aiming, re-pointing.
#include <tcp_proxy.hpp>

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace tiercache::testing {
namespace {

using Only = LinkFault::Only;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(port);
  return a;
}

struct Socket {
  explicit Socket(int fd_) : fd(fd_) {
    const timeval limit{5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~Socket() { close(fd); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  void say(const std::string& text) const {
    ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  /// What comes, up to `size` bytes; shorter at the end of the link or after 5 s.
  [[nodiscard]] std::string hear(std::size_t size) const {
    std::string text(size, '\0');
    std::size_t n = 0;
    for (ssize_t got = 1; n < size && got > 0; n += static_cast<std::size_t>(got)) {
      got = recv(fd, text.data() + n, size - n, 0);
      if (got < 0) got = 0;
    }
    text.resize(n);
    return text;
  }
  int fd;
};

struct Server {
  Server() : listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener.fd, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener.fd, 8), 0);
    EXPECT_EQ(getsockname(listener.fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(address.sin_port);
  }
  [[nodiscard]] int take() const { return accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC); }
  Socket listener;
  std::uint16_t port = 0;
};

int dial(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in a = loopback(port);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
  return fd;
}

TEST(Proxy, AFaultMayMeetSubscribersAlone) {
  const Server server;
  TcpProxy proxy(server.port);
  const Socket data(dial(proxy.port()));
  const Socket data_there(server.take());
  const Socket bus(dial(proxy.port()));
  const Socket bus_there(server.take());
  bus.say("SUBSCRIBE x");
  EXPECT_EQ(bus_there.hear(11), "SUBSCRIBE x");
  proxy.set(TcpProxy::to_client, LinkFault::truncate(3).on(Only::subscribers));
  data_there.say("value");
  bus_there.say("message");
  EXPECT_EQ(data.hear(5), "value");
  EXPECT_EQ(bus.hear(7), "mes");
}

TEST(Proxy, AFlipFindsItsMarkerInEachPiece) {
  const Server server;
  TcpProxy proxy(server.port);
  const Socket here(dial(proxy.port()));
  const Socket there(server.take());
  proxy.set(TcpProxy::to_client, LinkFault::flip_in("TCE", 4));
  there.say("..TCEaaa");
  EXPECT_EQ(here.hear(8), "..TCEa`a");
  there.say("nothing");
  EXPECT_EQ(here.hear(7), "nothing");
  there.say("TCEbbb");
  EXPECT_EQ(here.hear(6), "TCEbcb");
}

TEST(Proxy, ADelayMayMeetMarkedPiecesAlone) {
  const Server server;
  TcpProxy proxy(server.port);
  const Socket one(dial(proxy.port()));
  const Socket one_there(server.take());
  const Socket other(dial(proxy.port()));
  const Socket other_there(server.take());
  proxy.set(TcpProxy::to_client, LinkFault::delay(std::chrono::milliseconds(200), "late"));
  const auto begin = std::chrono::steady_clock::now();
  one_there.say("late");
  other_there.say("soon");
  EXPECT_EQ(other.hear(4), "soon");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(200));
  EXPECT_EQ(one.hear(4), "late");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(200));
}

TEST(Proxy, NewConnectionsGoWhereItWasRepointed) {
  const Server first;
  const Server second;
  TcpProxy proxy(first.port);
  const Socket old(dial(proxy.port()));
  const Socket old_there(first.take());
  proxy.retarget(second.port);
  const Socket fresh(dial(proxy.port()));
  const Socket fresh_there(second.take());
  fresh.say("new");
  old.say("old");
  EXPECT_EQ(fresh_there.hear(3), "new");
  EXPECT_EQ(old_there.hear(3), "old");
}

// By this a chaos run knows that its fault has met somebody.
TEST(Proxy, CountsWhatAFaultHasMetAndNothingElse) {
  const Server server;
  TcpProxy proxy(server.port);
  const Socket here(dial(proxy.port()));
  const Socket there(server.take());
  proxy.set(TcpProxy::to_server, LinkFault::delay(std::chrono::milliseconds(1), "slow"));
  here.say("fast");
  EXPECT_EQ(there.hear(4), "fast");
  there.say("back");
  EXPECT_EQ(here.hear(4), "back");
  EXPECT_EQ(proxy.met(), 0U);
  here.say("slow");
  EXPECT_EQ(there.hear(4), "slow");
  EXPECT_EQ(proxy.met(), 1U);
  proxy.set(TcpProxy::to_server, LinkFault::flip_in("TCE", 3));
  here.say("TCEa");
  EXPECT_EQ(there.hear(4), "TCE`");
  EXPECT_EQ(proxy.met(), 2U);
  proxy.cut();
  EXPECT_EQ(proxy.met(), 3U);
  proxy.accept(TcpProxy::Accept::refuse);
  EXPECT_EQ(Socket(dial(proxy.port())).hear(1), "");
  EXPECT_EQ(proxy.met(), 4U);
}

// Bytes that were dropped do not come again, so nothing may follow them.
TEST(Proxy, RestoreEndsTheLinksThatLostBytes) {
  const Server server;
  TcpProxy proxy(server.port);
  const Socket here(dial(proxy.port()));
  const Socket there(server.take());
  proxy.set(TcpProxy::to_server, LinkFault::blackhole());
  here.say("lost");
  proxy.restore();
  EXPECT_EQ(there.hear(1), "");
  const Socket again(dial(proxy.port()));
  const Socket again_there(server.take());
  again.say("kept");
  EXPECT_EQ(again_there.hear(4), "kept");
}

}  // namespace
}  // namespace tiercache::testing
