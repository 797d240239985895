// SPDX-License-Identifier: Apache-2.0
//
// As much of Redis as the scripts and commands of tiercache use, in memory, with the clock of whoever made it. It runs the
// scripts' own texts. sim_redis_test holds its answers against those of a redis-server.
#pragma once

#include "resp.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tiercache::sim {

class Lua;

struct SortedSet {
  std::map<std::string, double> scores;
};
struct LogStream {
  struct Entry {
    std::uint64_t number = 0;
    std::uint64_t second = 0;
    std::string field, text;
  };
  std::vector<Entry> entries;
  std::vector<std::size_t> nodes;  ///< how many entries each node has: trimming takes whole ones
  std::vector<std::size_t> node_bytes;
  std::uint64_t last = 0, last_second = 0;
};
struct Stored {
  std::variant<std::string, SortedSet, LogStream> value;
  std::int64_t expires_ms = 0;  ///< on the server's clock; 0: never
};
using KeySpace = std::map<std::string, Stored>;

/// One server. Single-threaded.
class Redis {
 public:
  struct Hooks {
    std::function<std::int64_t()> now_ms;
    std::function<void(std::string_view channel, std::string_view message)> publish;
    std::function<void(const std::string& key, std::string_view bytes)> stored = nullptr;  ///< a string was set
    std::function<void(const std::string& key)> removed = nullptr;                         ///< deleted, evicted or expired
  };
  Redis(Lua& lua, std::string run_id, Hooks hooks);

  /// One command. Of a subscriber's and CLIENT only what needs no connection: those are the caller's.
  Answer run(const std::vector<std::string>& argv);

  KeySpace keys;
  std::string run_id;
  bool read_only = false;    ///< a demoted master
  bool no_replicas = false;  ///< min-replicas-to-write is not met
  bool full = false;         ///< memory is out, noeviction
  std::size_t scan_page = 10;
  std::set<std::string, std::less<>> known_scripts;

 private:
  friend class Lua;
  Answer run_command(const std::vector<std::string>& argv);
  Answer evaluate(const std::vector<std::string>& argv);
  Stored* find(const std::string& key);
  Answer set(const std::vector<std::string>& argv);
  Answer scan(const std::vector<std::string>& argv);
  Answer add_entry(const std::vector<std::string>& argv);
  Answer range_of_entries(const std::vector<std::string>& argv, bool reverse);
  Answer range_by_rank(const std::vector<std::string>& argv);
  Answer range_by_score(const std::vector<std::string>& argv);
  Answer sorted_set(const std::vector<std::string>& argv);
  Answer expiry(const std::vector<std::string>& argv);
  [[nodiscard]] const char* refusal(std::string_view command);

  Lua& lua_;
  Hooks hooks_;
  bool in_script_ = false;
  bool script_wrote_ = false;
  std::map<std::string, std::string> cursors_;
  std::uint64_t next_cursor_ = 1;
};

/// An embedded interpreter with the functions that Redis gives to scripts. Compiles each script once, for all servers.
class Lua {
 public:
  Lua();
  ~Lua();
  Lua(const Lua&) = delete;
  Lua& operator=(const Lua&) = delete;
  /// Makes the script known. Empty: it does not compile.
  std::string load(const std::string& text);
  [[nodiscard]] bool knows(std::string_view sha) const;
  Answer run(Redis& server, std::string_view sha, const std::vector<std::string>& keys,
             const std::vector<std::string>& arguments);
  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace tiercache::sim
