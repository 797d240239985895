// SPDX-License-Identifier: Apache-2.0
#include "redis.hpp"

#include <fnmatch.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace tiercache::sim {
namespace {

constexpr std::string_view wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
constexpr std::array<std::string_view, 18> writing{
    "SET",     "DEL",     "UNLINK",    "INCR",     "XADD",   "ZADD", "ZREM",     "COPY",   "ZREMRANGEBYSCORE",
    "PEXPIRE", "PERSIST", "PEXPIREAT", "FLUSHALL", "APPEND", "MSET", "SETRANGE", "RENAME", "EXPIRE"};
constexpr std::array<std::string_view, 7> needing_memory{"SET", "INCR", "XADD", "ZADD", "COPY", "APPEND", "MSET"};

template <class List>
bool has(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

std::int64_t integer(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }

/// A bound of a range of scores.
struct Bound {
  double score = 0;
  bool open = false;
};
Bound bound(const std::string& text) {
  Bound b;
  b.open = !text.empty() && text[0] == '(';
  const std::string number = b.open ? text.substr(1) : text;
  b.score = number == "+inf" ? HUGE_VAL : number == "-inf" ? -HUGE_VAL : std::strtod(number.c_str(), nullptr);
  return b;
}
bool within(double score, const Bound& low, const Bound& high) {
  return (low.open ? score > low.score : score >= low.score) && (high.open ? score < high.score : score <= high.score);
}
std::string text_of(double score) {
  if (std::isinf(score)) return score > 0 ? "inf" : "-inf";
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", score);
  return text;
}

std::vector<std::pair<double, std::string>> in_order(const SortedSet& set) {
  std::vector<std::pair<double, std::string>> all;
  for (const auto& [member, score] : set.scores) all.emplace_back(score, member);
  std::sort(all.begin(), all.end());
  return all;
}

std::string id_of(const LogStream::Entry& e) { return std::to_string(e.number) + "-" + std::to_string(e.second); }

}  // namespace

Redis::Redis(Lua& lua, std::string id, Hooks hooks) : run_id(std::move(id)), lua_(lua), hooks_(std::move(hooks)) {}

Stored* Redis::find(const std::string& key) {
  const auto it = keys.find(key);
  if (it == keys.end()) return nullptr;
  if (it->second.expires_ms != 0 && it->second.expires_ms <= hooks_.now_ms()) {
    keys.erase(it);
    if (hooks_.removed) hooks_.removed(key);
    return nullptr;
  }
  return &it->second;
}

const char* Redis::refusal(std::string_view command) {
  const bool writes = has(writing, command);
  if (writes && read_only) return "READONLY You can't write against a read only replica.";
  if (writes && no_replicas) return "NOREPLICAS Not enough good replicas to write.";
  // What has written once is let through: the rest of a script must not be torn off it.
  if (full && has(needing_memory, command) && !(in_script_ && script_wrote_))
    return "OOM command not allowed when used memory > 'maxmemory'.";
  return nullptr;
}

Answer Redis::run(const std::vector<std::string>& given) {
  if (given.empty()) return Answer::error("ERR empty command");
  std::vector<std::string> argv = given;
  argv[0] = upper(argv[0]);
  if (argv[0] == "EVAL" || argv[0] == "EVALSHA") return evaluate(argv);
  if (const char* why = refusal(argv[0])) return Answer::error(why);
  if (in_script_ && has(writing, argv[0])) script_wrote_ = true;
  return run_command(argv);
}

Answer Redis::evaluate(const std::vector<std::string>& argv) {
  std::string sha = argv[1];
  if (argv[0] == "EVAL") {
    sha = lua_.load(argv[1]);
    if (sha.empty()) return Answer::error("ERR Error compiling script");
    known_scripts.insert(sha);
  } else if (!known_scripts.contains(sha)) {
    return Answer::error("NOSCRIPT No matching script. Please use EVAL.");
  }
  const auto count = static_cast<std::ptrdiff_t>(integer(argv[2]));
  const std::vector<std::string> key_names(argv.begin() + 3, argv.begin() + 3 + count);
  const std::vector<std::string> arguments(argv.begin() + 3 + count, argv.end());
  in_script_ = true;
  script_wrote_ = false;
  Answer answer = lua_.run(*this, sha, key_names, arguments);
  in_script_ = false;
  return answer;
}

Answer Redis::run_command(const std::vector<std::string>& argv) {
  const std::string& name = argv[0];
  if (name == "PING") return Answer::status("PONG");
  if (name == "GET" || name == "GETRANGE") {
    Stored* const s = find(argv[1]);
    if (s == nullptr) return name == "GET" ? Answer::none() : Answer::string("");
    const auto* const text = std::get_if<std::string>(&s->value);
    if (text == nullptr) return Answer::error(std::string(wrong_type));
    if (name == "GET") return Answer::string(*text);
    const auto from = static_cast<std::size_t>(integer(argv[2]));
    const auto to = static_cast<std::size_t>(integer(argv[3]));
    return Answer::string(from >= text->size() ? "" : text->substr(from, to - from + 1));
  }
  if (name == "MGET") {
    std::vector<Answer> all;
    for (std::size_t i = 1; i < argv.size(); ++i) {
      Stored* const s = find(argv[i]);
      const auto* const text = s != nullptr ? std::get_if<std::string>(&s->value) : nullptr;
      all.push_back(text != nullptr ? Answer::string(*text) : Answer::none());
    }
    return Answer::array(std::move(all));
  }
  if (name == "SET") return set(argv);
  if (name == "DEL" || name == "UNLINK" || name == "EXISTS") {
    std::int64_t n = 0;
    for (std::size_t i = 1; i < argv.size(); ++i) {
      if (find(argv[i]) == nullptr) continue;
      ++n;
      if (name == "EXISTS") continue;
      keys.erase(argv[i]);
      if (hooks_.removed) hooks_.removed(argv[i]);
    }
    return Answer::of(n);
  }
  if (name == "INCR") {
    Stored* s = find(argv[1]);
    if (s == nullptr) s = &(keys[argv[1]] = Stored{std::string("0")});
    auto* const text = std::get_if<std::string>(&s->value);
    if (text == nullptr) return Answer::error(std::string(wrong_type));
    const std::int64_t n = integer(*text) + 1;
    *text = std::to_string(n);
    return Answer::of(n);
  }
  if (name == "PTTL" || name == "PEXPIRE" || name == "PEXPIREAT" || name == "PERSIST") return expiry(argv);
  if (name == "TIME") {
    const std::int64_t ms = hooks_.now_ms();
    return Answer::array({Answer::string(std::to_string(ms / 1000)), Answer::string(std::to_string(ms % 1000 * 1000))});
  }
  if (name == "PUBLISH") {
    hooks_.publish(argv[1], argv[2]);
    return Answer::of(0);
  }
  if (name == "SCAN") return scan(argv);
  if (name == "XADD") return add_entry(argv);
  if (name == "XRANGE" || name == "XREVRANGE") return range_of_entries(argv, name == "XREVRANGE");
  if (name == "ZADD" || name == "ZREM" || name == "ZREMRANGEBYSCORE") return sorted_set(argv);
  if (name == "ZRANGE") return range_by_rank(argv);
  if (name == "ZRANGEBYSCORE") return range_by_score(argv);
  if (name == "COPY") {
    Stored* const s = find(argv[1]);
    if (s == nullptr) return Answer::of(0);
    const Stored copy = *s;
    keys[argv[2]] = copy;
    return Answer::of(1);
  }
  if (name == "FLUSHALL") {
    for (const auto& [key, stored] : std::exchange(keys, {}))
      if (hooks_.removed) hooks_.removed(key);
    return Answer::ok();
  }
  if (name == "SCRIPT") {
    known_scripts.clear();
    return Answer::ok();
  }
  return Answer::error("ERR unknown command '" + name + "'");
}

Answer Redis::set(const std::vector<std::string>& argv) {
  Stored* const old = find(argv[1]);
  Stored fresh{argv[2]};
  for (std::size_t i = 3; i < argv.size(); ++i) {
    const std::string option = upper(argv[i]);
    if (option == "NX" && old != nullptr) return Answer::none();
    if (option == "KEEPTTL" && old != nullptr) fresh.expires_ms = old->expires_ms;
    if (option == "PX" && i + 1 < argv.size()) {
      const std::int64_t ms = integer(argv[++i]);
      if (ms <= 0) return Answer::error("ERR invalid expire time in 'set' command");
      fresh.expires_ms = hooks_.now_ms() + ms;
    }
  }
  keys[argv[1]] = std::move(fresh);
  if (hooks_.stored) hooks_.stored(argv[1], argv[2]);
  return Answer::ok();
}

Answer Redis::expiry(const std::vector<std::string>& argv) {
  Stored* const s = find(argv[1]);
  const std::int64_t now = hooks_.now_ms();
  if (argv[0] == "PTTL") return Answer::of(s == nullptr ? -2 : s->expires_ms == 0 ? -1 : s->expires_ms - now);
  if (s == nullptr) return Answer::of(0);
  if (argv[0] == "PERSIST") return Answer::of(std::exchange(s->expires_ms, 0) != 0 ? 1 : 0);
  s->expires_ms =
      argv[0] == "PEXPIRE" ? now + integer(argv[2]) : static_cast<std::int64_t>(std::strtod(argv[2].c_str(), nullptr));
  if (s->expires_ms <= now) keys.erase(argv[1]);
  return Answer::of(1);
}

/// A cursor stands for the last name that was told, so whatever stands all the while is told.
Answer Redis::scan(const std::vector<std::string>& argv) {
  std::string pattern = "*";
  for (std::size_t i = 2; i + 1 < argv.size(); ++i)
    if (upper(argv[i]) == "MATCH") pattern = argv[i + 1];
  const auto resumed = cursors_.find(argv[1]);
  auto it = resumed != cursors_.end() ? keys.upper_bound(resumed->second) : keys.begin();
  std::vector<Answer> found;
  std::string last;
  for (std::size_t n = 0; it != keys.end() && n < scan_page; ++n, ++it) {
    last = it->first;
    if (it->second.expires_ms != 0 && it->second.expires_ms <= hooks_.now_ms()) continue;
    if (fnmatch(pattern.c_str(), it->first.c_str(), 0) == 0) found.push_back(Answer::string(it->first));
  }
  std::string cursor = "0";
  if (it != keys.end()) {
    cursor = std::to_string(next_cursor_++);
    cursors_[cursor] = last;
  }
  return Answer::array({Answer::string(cursor), Answer::array(std::move(found))});
}

// XADD key MAXLEN ~ most id field text
Answer Redis::add_entry(const std::vector<std::string>& argv) {
  Stored* s = find(argv[1]);
  const bool fresh = s == nullptr;
  Stored made{LogStream{}};
  auto* const stream = std::get_if<LogStream>(fresh ? &made.value : &s->value);
  if (stream == nullptr) return Answer::error(std::string(wrong_type));
  std::size_t at = 2;
  std::size_t most = SIZE_MAX;
  if (upper(argv[at]) == "MAXLEN") {
    most = static_cast<std::size_t>(integer(argv[at + 2]));
    at += 3;
  }
  LogStream::Entry entry;
  char* end = nullptr;
  entry.number = std::strtoull(argv[at].c_str(), &end, 10);
  if (*end == '-') entry.second = std::strtoull(end + 1, nullptr, 10);
  if (std::pair(entry.number, entry.second) <= std::pair(stream->last, stream->last_second))
    return Answer::error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
  entry.field = argv[at + 1];
  entry.text = argv[at + 2];
  stream->last = entry.number;
  stream->last_second = entry.second;
  const Answer id = Answer::string(id_of(entry));
  constexpr std::size_t node_entries = 100;
  constexpr std::size_t node_bytes = 4096;
  if (stream->nodes.empty() || stream->nodes.back() >= node_entries || stream->node_bytes.back() >= node_bytes) {
    stream->nodes.push_back(0);
    stream->node_bytes.push_back(22);  // the node's own head and master entry, about
  }
  ++stream->nodes.back();
  stream->node_bytes.back() += entry.text.size() + (entry.text.size() < 64 ? 10 : entry.text.size() < 4096 ? 12 : 16);
  stream->entries.push_back(std::move(entry));
  while (stream->nodes.size() > 1 && stream->entries.size() - stream->nodes.front() >= most) {
    stream->entries.erase(stream->entries.begin(), stream->entries.begin() + static_cast<std::ptrdiff_t>(stream->nodes.front()));
    stream->nodes.erase(stream->nodes.begin());
    stream->node_bytes.erase(stream->node_bytes.begin());
  }
  if (fresh) keys[argv[1]] = std::move(made);
  return id;
}

Answer Redis::range_of_entries(const std::vector<std::string>& argv, bool reverse) {
  Stored* const s = find(argv[1]);
  if (s == nullptr) return Answer::array({});
  const auto* const stream = std::get_if<LogStream>(&s->value);
  if (stream == nullptr) return Answer::error(std::string(wrong_type));
  std::size_t most = SIZE_MAX;
  if (argv.size() > 5) most = static_cast<std::size_t>(std::strtod(argv[5].c_str(), nullptr));
  std::pair<std::uint64_t, std::uint64_t> from{0, 0};
  if (!reverse && argv[2] != "-") {
    char* end = nullptr;
    from.first = std::strtoull(argv[2].c_str(), &end, 10);
    if (*end == '-') from.second = std::strtoull(end + 1, nullptr, 10);
  }
  std::vector<Answer> all;
  const auto tell = [&](const LogStream::Entry& e) {
    all.push_back(Answer::array({Answer::string(id_of(e)), Answer::array({Answer::string(e.field), Answer::string(e.text)})}));
  };
  if (reverse) {
    for (auto it = stream->entries.rbegin(); it != stream->entries.rend() && all.size() < most; ++it) tell(*it);
  } else {
    for (const LogStream::Entry& e : stream->entries)
      if (std::pair(e.number, e.second) >= from && all.size() < most) tell(e);
  }
  return Answer::array(std::move(all));
}

Answer Redis::sorted_set(const std::vector<std::string>& argv) {
  Stored* s = find(argv[1]);
  if (s == nullptr && argv[0] == "ZADD") s = &(keys[argv[1]] = Stored{SortedSet{}});
  if (s == nullptr) return Answer::of(0);
  auto* const set = std::get_if<SortedSet>(&s->value);
  if (set == nullptr) return Answer::error(std::string(wrong_type));
  std::int64_t n = 0;
  if (argv[0] == "ZADD") {
    for (std::size_t i = 2; i + 1 < argv.size(); i += 2)
      if (set->scores.insert_or_assign(argv[i + 1], bound(argv[i]).score).second) ++n;
  } else if (argv[0] == "ZREM") {
    for (std::size_t i = 2; i < argv.size(); ++i) n += static_cast<std::int64_t>(set->scores.erase(argv[i]));
  } else {
    const Bound low = bound(argv[2]);
    const Bound high = bound(argv[3]);
    n = static_cast<std::int64_t>(std::erase_if(set->scores, [&](const auto& one) { return within(one.second, low, high); }));
  }
  if (set->scores.empty()) keys.erase(argv[1]);
  return Answer::of(n);
}

Answer Redis::range_by_rank(const std::vector<std::string>& argv) {
  Stored* const s = find(argv[1]);
  if (s == nullptr) return Answer::array({});
  const auto* const set = std::get_if<SortedSet>(&s->value);
  if (set == nullptr) return Answer::error(std::string(wrong_type));
  const auto all = in_order(*set);
  const auto size = static_cast<std::int64_t>(all.size());
  const auto place = [&](std::int64_t n) { return n < 0 ? n + size : n; };
  const bool scores = argv.size() > 4 && upper(argv[4]) == "WITHSCORES";
  std::vector<Answer> some;
  for (std::int64_t i = std::max<std::int64_t>(0, place(integer(argv[2]))); i <= place(integer(argv[3])) && i < size; ++i) {
    some.push_back(Answer::string(all[static_cast<std::size_t>(i)].second));
    if (scores) some.push_back(Answer::string(text_of(all[static_cast<std::size_t>(i)].first)));
  }
  return Answer::array(std::move(some));
}

Answer Redis::range_by_score(const std::vector<std::string>& argv) {
  Stored* const s = find(argv[1]);
  if (s == nullptr) return Answer::array({});
  const auto* const set = std::get_if<SortedSet>(&s->value);
  if (set == nullptr) return Answer::error(std::string(wrong_type));
  const std::size_t most = argv.size() > 6 ? static_cast<std::size_t>(std::strtod(argv[6].c_str(), nullptr)) : SIZE_MAX;
  std::vector<Answer> some;
  for (const auto& [score, member] : in_order(*set))
    if (some.size() < most && within(score, bound(argv[2]), bound(argv[3]))) some.push_back(Answer::string(member));
  return Answer::array(std::move(some));
}

}  // namespace tiercache::sim
