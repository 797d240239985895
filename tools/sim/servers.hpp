// SPDX-License-Identifier: Apache-2.0
//
// The Redis servers of a world, their connections, and what can be done to them.
#pragma once

#include "net.hpp"
#include "oracle.hpp"
#include "redis.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::sim {

class Servers final : public Service {
 public:
  Servers(Scheduler& scheduler, Lua& lua, Oracle& oracle, std::uint64_t seed);
  void serve(Network& network) { network_ = &network; }

  // The network's questions.
  bool listens(unsigned server) override;
  void accepted(const StreamPtr& stream) override;
  void received(const StreamPtr& stream, std::string_view bytes) override;
  void closed(const StreamPtr& stream) override;

  /// A new one, with the given data.
  unsigned start(KeySpace keys);
  void kill(unsigned server);
  /// Another run of a killed one. Its scripts are forgotten.
  void restart(unsigned server, KeySpace keys);
  /// SIGSTOP; connections are taken, nobody answers.
  void stop_until(unsigned server, Nanos until);
  [[nodiscard]] Redis& redis(unsigned server) { return *nodes_[server].redis; }
  [[nodiscard]] bool is_up(unsigned server) const { return nodes_[server].up; }
  void kill_client(const StreamPtr& stream);
  /// What the server held so long ago, at least; a copy is made every few milliseconds while `keep_copies`.
  [[nodiscard]] KeySpace earlier(unsigned server, Nanos ago) const;
  bool keep_copies = false;
  void copy_now(unsigned server);
  /// The row of a data key; nothing: it is none.
  std::function<std::optional<std::uint32_t>(std::string_view key)> row_of;

  std::uint64_t commands = 0;

 private:
  struct Client {
    StreamPtr stream;
    std::uint64_t id = 0;
    std::string in;
    std::vector<std::string> channels;
  };
  struct Node {
    std::unique_ptr<Redis> redis;
    bool up = true;
    Nanos stopped_until = 0;
    std::map<std::uint64_t, Client> clients;  // by stream
    std::deque<std::pair<Nanos, KeySpace>> copies;
  };
  void make(unsigned server, KeySpace keys);
  void work(unsigned server, std::uint64_t stream);
  Answer answer(unsigned server, Client& client, const std::vector<std::string>& argv);
  void publish(unsigned server, std::string_view channel, std::string_view message);
  [[nodiscard]] std::string_view script_name(std::string_view sha) const;

  Scheduler& scheduler_;
  Lua& lua_;
  Oracle& oracle_;
  Random random_;
  Network* network_ = nullptr;
  std::vector<Node> nodes_;
  std::uint64_t next_client_ = 3;
};

}  // namespace tiercache::sim
