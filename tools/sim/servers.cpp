// SPDX-License-Identifier: Apache-2.0
#include "servers.hpp"

#include <scripts.hpp>
#include <scripts_bulk.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace tiercache::sim {
namespace {

std::string shown(std::string_view bytes) {
  std::string text;
  for (const char c : bytes.substr(0, 96)) text += c >= 0x20 && c < 0x7F ? c : '.';
  return text;
}

std::uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace

Servers::Servers(Scheduler& scheduler, Lua& lua, Oracle& oracle, std::uint64_t seed)
    : scheduler_(scheduler), lua_(lua), oracle_(oracle), random_(seed) {}

unsigned Servers::start(KeySpace keys) {
  nodes_.emplace_back();
  make(static_cast<unsigned>(nodes_.size()) - 1, std::move(keys));
  return static_cast<unsigned>(nodes_.size()) - 1;
}

void Servers::make(unsigned server, KeySpace keys) {
  std::string run_id;
  for (int i = 0; i < 40; ++i) run_id += "0123456789abcdef"[random_.below(16)];
  Redis::Hooks hooks;
  hooks.now_ms = [this] { return 1'700'000'000'000 + scheduler_.now() / millis; };
  hooks.publish = [this, server](std::string_view channel, std::string_view message) { publish(server, channel, message); };
  hooks.stored = [this](const std::string& key, std::string_view bytes) {
    if (row_of(key)) oracle_.stored(bytes);
  };
  hooks.removed = [this](const std::string& key) {
    // With the value goes the version that a late put would have been held against.
    const auto row = row_of(key);
    if (row && (oracle_.rows[*row].way == Way::versioned || oracle_.rows[*row].way == Way::buried)) oracle_.lose(*row);
  };
  Node& node = nodes_[server];
  node.redis = std::make_unique<Redis>(lua_, std::move(run_id), std::move(hooks));
  node.redis->keys = std::move(keys);
  node.redis->scan_page = 1 + random_.below(12);
  node.up = true;
  node.stopped_until = 0;
}

bool Servers::listens(unsigned server) { return nodes_[server].up; }

void Servers::accepted(const StreamPtr& stream) {
  nodes_[stream->server].clients.emplace(stream->id, Client{stream, next_client_++, {}, {}});
}

void Servers::received(const StreamPtr& stream, std::string_view bytes) {
  Node& node = nodes_[stream->server];
  const auto found = node.clients.find(stream->id);
  if (found == node.clients.end()) return;
  found->second.in += bytes;
  if (scheduler_.now() >= node.stopped_until) work(stream->server, stream->id);
}

void Servers::closed(const StreamPtr& stream) { nodes_[stream->server].clients.erase(stream->id); }

void Servers::work(unsigned server, std::uint64_t stream) {
  for (;;) {
    Node& node = nodes_[server];
    const auto found = node.clients.find(stream);
    if (found == node.clients.end()) return;
    Client& client = found->second;
    const auto argv = take_command(client.in);
    if (!argv) return;
    ++commands;
    const std::string_view script = argv->front().starts_with("EVAL") ? script_name((*argv)[1]) : std::string_view();
    const auto who = [&] {
      return client.stream->process->name + " -> server " + std::to_string(server) + " #" + std::to_string(client.id) + ": ";
    };
    if (argv->front() != "EVALSHA" || node.redis->known_scripts.contains((*argv)[1]))
      scheduler_.note("runs", stream, [&] {
        std::string text = who() + (script.empty() ? "" : std::string(script));
        for (std::size_t i = script.empty() ? 0 : 3; i < argv->size() && i < 9; ++i) text += " " + shown((*argv)[i]);
        return text;
      });
    const StreamPtr to = client.stream;
    const Answer a = answer(server, client, *argv);
    if (a.is_error()) scheduler_.note("refuses", stream, [&] { return a.text; });
    std::string bytes;
    write_answer(bytes, a);
    scheduler_.note("", hash_of(bytes), [] { return std::string(); });
    network_->answer(to, std::move(bytes));
  }
}

Answer Servers::answer(unsigned server, Client& client, const std::vector<std::string>& argv) {
  const std::string& name = argv[0];
  Redis& redis = *nodes_[server].redis;
  if (name == "SUBSCRIBE") {
    std::string bytes;
    for (std::size_t i = 1; i < argv.size(); ++i) {
      client.channels.push_back(argv[i]);
      const Answer one =
          Answer::array({Answer::string("subscribe"), Answer::string(argv[i]), Answer::of(static_cast<std::int64_t>(i))});
      if (i + 1 == argv.size()) {
        if (!bytes.empty()) network_->answer(client.stream, std::move(bytes));
        return one;
      }
      write_answer(bytes, one);
    }
  }
  if (name == "CLIENT" && argv[1] == "ID") return Answer::of(static_cast<std::int64_t>(client.id));
  if (name == "CLIENT" && argv[1] == "KILL") {
    for (auto& [stream, other] : nodes_[server].clients) {
      if (std::to_string(other.id) != argv[3] || other.stream == client.stream) continue;
      const StreamPtr victim = other.stream;
      kill_client(victim);
      return Answer::of(1);
    }
    return Answer::of(0);
  }
  if (name == "CLIENT" || name == "SELECT" || name == "AUTH") return Answer::ok();
  if (name == "WAIT") return Answer::of(0);
  if (name == "INFO") {
    return Answer::string(argv.size() > 1 && argv[1] == "server"
                              ? "# Server\r\nrun_id:" + redis.run_id + "\r\n"
                              : "# Replication\r\nrole:" + std::string(redis.read_only ? "slave" : "master") + "\r\n");
  }
  return redis.run(argv);
}

/// What it had sent and the server had not read is lost.
void Servers::kill_client(const StreamPtr& stream) {
  nodes_[stream->server].clients.erase(stream->id);
  network_->drop(stream);
}

void Servers::publish(unsigned server, std::string_view channel, std::string_view message) {
  scheduler_.note("publishes", hash_of(message), [&] { return std::string(channel) + " " + shown(message); });
  for (auto& [id, client] : nodes_[server].clients) {
    if (std::find(client.channels.begin(), client.channels.end(), channel) == client.channels.end()) continue;
    std::string bytes;
    write_answer(bytes, Answer::array({Answer::string("message"), Answer::string(std::string(channel)),
                                       Answer::string(std::string(message))}));
    network_->answer(client.stream, std::move(bytes));
  }
}

void Servers::kill(unsigned server) {
  Node& node = nodes_[server];
  node.up = false;
  std::vector<StreamPtr> all;
  for (auto& [id, client] : node.clients) all.push_back(client.stream);
  for (const StreamPtr& stream : all) {
    // What it had answered is on its way and comes; then the end.
    if (random_.below(2) == 0) network_->reset(stream, ECONNRESET);
    else kill_client(stream);
  }
  node.clients.clear();
}

void Servers::restart(unsigned server, KeySpace keys) { make(server, std::move(keys)); }

void Servers::stop_until(unsigned server, Nanos until) {
  nodes_[server].stopped_until = std::max(nodes_[server].stopped_until, until);
  scheduler_.at(until, [this, server] {
    Node& node = nodes_[server];
    if (!node.up || scheduler_.now() < node.stopped_until) return;
    std::vector<std::uint64_t> streams;
    for (const auto& [id, client] : node.clients) streams.push_back(id);
    for (std::size_t i = streams.size(); i > 1; --i) std::swap(streams[i - 1], streams[random_.below(i)]);
    for (const std::uint64_t stream : streams) work(server, stream);
  });
}

void Servers::copy_now(unsigned server) {
  Node& node = nodes_[server];
  if (!node.up || !keep_copies) return;
  node.copies.emplace_back(scheduler_.now(), node.redis->keys);
  constexpr std::size_t kept = 400;
  if (node.copies.size() > kept) node.copies.pop_front();
}

KeySpace Servers::earlier(unsigned server, Nanos ago) const {
  const Node& node = nodes_[server];
  for (auto it = node.copies.rbegin(); it != node.copies.rend(); ++it)
    if (it->first <= scheduler_.now() - ago) return it->second;
  return node.copies.empty() ? KeySpace{} : node.copies.front().second;
}

std::string_view Servers::script_name(std::string_view given) const {
  const l2::Scripts& s = l2::scripts();
  const l2::BulkScripts& b = l2::bulk_scripts();
  const std::pair<const l2::Script*, std::string_view> names[] = {{&s.put, "put"},
                                                                  {&s.erase, "erase"},
                                                                  {&s.announce, "announce"},
                                                                  {&s.lease_get, "lease_get"},
                                                                  {&s.lease_fill, "lease_fill"},
                                                                  {&s.lease_renew, "lease_renew"},
                                                                  {&s.lease_release, "lease_release"},
                                                                  {&s.remove_if, "remove_if"},
                                                                  {&s.heartbeat, "heartbeat"},
                                                                  {&s.resync, "resync"},
                                                                  {&s.exists, "exists"},
                                                                  {&s.erase_versions, "erase_versions"},
                                                                  {&s.gate, "gate"},
                                                                  {&s.put_many, "put_many"},
                                                                  {&b.put, "put"},
                                                                  {&b.lease_fill, "lease_fill"},
                                                                  {&b.lease_get, "lease_get"},
                                                                  {&b.erase, "erase"},
                                                                  {&b.heartbeat, "heartbeat"},
                                                                  {&b.members, "members"}};
  for (const auto& [script, name] : names)
    if (script->sha == given || script->text == given) return name;
  return "?";
}

}  // namespace tiercache::sim
