// SPDX-License-Identifier: Apache-2.0
//
// TCP in virtual time. A stream loses nothing in its middle: bytes come late, or the connection ends and what was under way on it
// is lost. Streams know nothing of each other, so whatever goes over two of them may change places.
#pragma once

#include "scheduler.hpp"

#include <poll.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::sim {

enum Direction : unsigned { to_server, to_client };

/// What lies between one instance and the servers, for one kind of connection. Shared by its connections.
struct Link {
  Nanos least = 50 * micros;          ///< on its way at least so long
  Nanos spread = 100 * micros;        ///< and up to so much longer
  std::array<Nanos, 2> held_until{};  ///< nothing comes through before: a cable that is cut and mended; TCP sends it again
  std::array<Nanos, 2> slow_until{};  ///< each piece takes up to `slow_by` longer
  Nanos slow_by = 0;
  Nanos stuck_until = 0;  ///< now and then a connection's requests get stuck, alone, for up to `stuck_by`
  Nanos stuck_by = 0;
  Nanos refused_until = 0;  ///< new connections are refused
  unsigned server = 0;      ///< which of the servers the address leads to
};

class Network;

/// One connection. The two ends close on their own.
struct Stream : std::enable_shared_from_this<Stream> {
  struct Piece {
    std::string bytes;
    Nanos due = 0;
    bool last = false;  ///< the sender closed
  };
  std::uint64_t id = 0;
  Process* process = nullptr;
  Link* link = nullptr;
  unsigned server = 0;
  bool bus = false;

  // The client's end.
  enum class State : std::uint8_t { fresh, connecting, open, failed } state = State::fresh;
  bool closed = false;  ///< the client's descriptor is gone, or its process
  bool shut = false;    ///< shutdown() was called
  int error = 0;        ///< what the next call is told
  int flags = 0;
  Nanos receive_timeout = 0;
  std::string received;
  bool end = false;  ///< the server closed

  // The server's end.
  bool served = false;   ///< the server knows it
  bool dropped = false;  ///< the server's end is gone: what still comes is lost

  std::array<std::deque<Piece>, 2> under_way{};
  std::array<bool, 2> pumping{};
  Nanos stuck_until = 0;  ///< its own requests
};
using StreamPtr = std::shared_ptr<Stream>;

/// The servers as the network sees them.
class Service {
 public:
  virtual ~Service() = default;
  [[nodiscard]] virtual bool listens(unsigned server) = 0;
  virtual void accepted(const StreamPtr& stream) = 0;
  virtual void received(const StreamPtr& stream, std::string_view bytes) = 0;
  virtual void closed(const StreamPtr& stream) = 0;
};

class Network {
 public:
  Network(Scheduler& scheduler, Service& service, std::uint64_t seed) : scheduler_(scheduler), service_(service), random_(seed) {}

  /// The link over which the running fiber's next connection goes.
  std::function<Link*(Process&, bool bus)> link_of;

  // Of the client's side; they set errno and answer as the system calls do.
  int socket();
  int event();
  [[nodiscard]] bool owns(int fd) const noexcept;
  int connect(int fd);
  long send(int fd, const char* bytes, std::size_t size);
  long receive(int fd, char* to, std::size_t size, int flags);
  int poll(pollfd* fds, std::size_t count, int timeout_ms);
  int shutdown(int fd);
  int close(int fd);
  int set_receive_timeout(int fd, Nanos timeout);
  int get_flags(int fd);
  int set_flags(int fd, int flags);
  int take_error(int fd);
  int signal_event(int fd);

  // Of the server's side and the world's.
  void answer(const StreamPtr& stream, std::string bytes);
  void drop(const StreamPtr& stream);              ///< the server closes: the client reads what was sent, then the end
  void reset(const StreamPtr& stream, int error);  ///< both ends lose it with all that was under way
  [[nodiscard]] const std::vector<StreamPtr>& streams() const noexcept { return streams_; }
  void forget_ended();
  /// A crash: the process' ends close as the kernel closes them.
  void end_process(Process& process);
  std::uint64_t bytes_through = 0;

 private:
  struct Event {
    std::uint64_t count = 0;
    bool closed = false;
  };
  Stream* find(int fd) const noexcept;
  void post(const StreamPtr& stream, Direction way, Stream::Piece piece);
  void pump(const StreamPtr& stream, Direction way);
  [[nodiscard]] static Nanos held_until(const Stream& stream, Direction way) noexcept;
  void arrive(const StreamPtr& stream, Direction way, Stream::Piece piece);
  void close_client(const StreamPtr& stream);
  [[nodiscard]] bool readable(const Stream& s) const noexcept;
  [[nodiscard]] bool writable(const Stream& s) const noexcept;

  Scheduler& scheduler_;
  Service& service_;
  Random random_;
  std::uint64_t next_id_ = 1;
  std::vector<StreamPtr> streams_;  ///< those that are not over at both ends
  std::vector<StreamPtr> sockets_;  ///< by descriptor
  std::vector<std::unique_ptr<Event>> events_;
};

}  // namespace tiercache::sim
