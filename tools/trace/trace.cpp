// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include "byte_source.hpp"

#include <array>
#include <charconv>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace tiercache::tools {
namespace {

constexpr std::uint64_t requests_max = 500'000'000;  // a wrong file must not take all memory
constexpr std::size_t line_bytes_max = 4096;

Error bad_record(const std::string& path, std::uint64_t record, const std::string& why) {
  return {Errc::bad_data, path + ": record " + std::to_string(record) + ": " + why};
}

/// Gives out numbers in the order of first sight.
class Numbering {
 public:
  explicit Numbering(Trace& trace) : trace_(trace) {}
  std::uint32_t text(std::string_view key) {
    const auto found = texts_.find(key);
    if (found != texts_.end()) return request(found->second);
    texts_.emplace(std::string(key), trace_.unique_keys);
    return request(trace_.unique_keys++);
  }
  std::uint32_t number(std::uint64_t key) {
    const auto [at, is_new] = numbers_.try_emplace(key, trace_.unique_keys);
    if (is_new) ++trace_.unique_keys;
    return request(at->second);
  }

 private:
  std::uint32_t request(std::uint32_t key) {
    trace_.requests.push_back(key);
    return key;
  }
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  Trace& trace_;
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> texts_;
  std::unordered_map<std::uint64_t, std::uint32_t> numbers_;
};

/// Calls `take(line)` for each line; it returns what is wrong with it, or nothing.
Result<void> each_line(const std::string& path, ByteSource& source,
                       const std::function<std::optional<std::string>(std::string_view)>& take) {
  std::vector<char> buffer(1 << 18);
  std::string rest;
  std::uint64_t record = 0;
  const auto use = [&](std::string_view line) -> Result<void> {
    ++record;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > line_bytes_max) return bad_record(path, record, "longer than 4096 bytes");
    if (auto why = take(line)) return bad_record(path, record, *why);
    return {};
  };
  for (;;) {
    Result<std::size_t> n = source.read(buffer);
    if (!n) return Error{n.error().code, n.error().message + " (after record " + std::to_string(record) + ")"};
    if (*n == 0) break;
    std::string_view bytes(buffer.data(), *n);
    for (std::size_t end; (end = bytes.find('\n')) != bytes.npos; bytes.remove_prefix(end + 1)) {
      rest += bytes.substr(0, end);
      if (auto ok = use(rest); !ok) return ok;
      rest.clear();
    }
    rest += bytes;
    if (rest.size() > line_bytes_max) return bad_record(path, record + 1, "longer than 4096 bytes");
  }
  return rest.empty() ? Result<void>{} : use(rest);
}

Result<void> read_keys(const std::string& path, ByteSource& source, Trace& trace) {
  Numbering numbering(trace);
  return each_line(path, source, [&](std::string_view line) -> std::optional<std::string> {
    if (line.empty()) return "empty key";
    if (trace.requests.size() >= requests_max) return "more than 500 million requests";
    numbering.text(line);
    return std::nullopt;
  });
}

Result<void> read_lis(const std::string& path, ByteSource& source, Trace& trace) {
  Numbering numbering(trace);
  return each_line(path, source, [&](std::string_view line) -> std::optional<std::string> {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    const char* const end = line.data() + line.size();
    const auto one = std::from_chars(line.data(), end, first);
    if (one.ec != std::errc() || one.ptr == end || *one.ptr != ' ') return "not \"first count ...\"";
    const auto two = std::from_chars(one.ptr + 1, end, count);
    if (two.ec != std::errc() || (two.ptr != end && *two.ptr != ' ')) return "not \"first count ...\"";
    if (count > requests_max - trace.requests.size()) return "more than 500 million requests";
    if (count > 0 && first + (count - 1) < first) return "keys past 2^64";
    for (std::uint64_t i = 0; i < count; ++i) numbering.number(first + i);
    return std::nullopt;
  });
}

template <unsigned N>
std::uint64_t load_le(const char* p) noexcept {
  std::uint64_t v = 0;
  for (unsigned i = N; i-- > 0;) v = (v << 8) | static_cast<unsigned char>(p[i]);
  return v;
}

Result<void> read_oracle_general(const std::string& path, ByteSource& source, Trace& trace) {
  Numbering numbering(trace);
  constexpr std::size_t record_bytes = 24;
  std::vector<char> buffer(record_bytes * 8192);
  for (std::uint64_t record = 1;;) {
    Result<std::size_t> n = source.read(buffer);
    if (!n) return Error{n.error().code, n.error().message + " (after record " + std::to_string(record - 1) + ")"};
    for (std::size_t at = 0; at < *n; at += record_bytes, ++record) {
      if (*n - at < record_bytes) return bad_record(path, record, "cut short: " + std::to_string(*n - at) + " of 24 bytes");
      if (trace.requests.size() >= requests_max) return bad_record(path, record, "more than 500 million requests");
      const std::uint32_t key = numbering.number(load_le<8>(&buffer[at + 4]));
      if (key == trace.sizes.size()) trace.sizes.push_back(static_cast<std::uint32_t>(load_le<4>(&buffer[at + 12])));
    }
    if (*n < buffer.size()) return {};
  }
}

struct Format {
  std::string_view ending;
  Result<void> (*read)(const std::string& path, ByteSource& source, Trace& trace);
};
constexpr std::array<Format, 3> formats{{{".keys", read_keys}, {".lis", read_lis}, {".oracleGeneral.bin", read_oracle_general}}};

/// Takes the endings off `name`; null when they are not a trace's.
const Format* take_format(std::string_view& name) {
  for (const std::string_view compression : {".gz", ".zst"}) {
    if (name.ends_with(compression)) {
      name.remove_suffix(compression.size());
      break;
    }
  }
  for (const Format& format : formats) {
    if (!name.ends_with(format.ending)) continue;
    name.remove_suffix(format.ending.size());
    return &format;
  }
  return nullptr;
}

}  // namespace

std::optional<std::string> trace_name(const std::string& path) {
  std::string_view name = path;
  if (const std::size_t slash = name.rfind('/'); slash != name.npos) name.remove_prefix(slash + 1);
  if (take_format(name) == nullptr || name.empty()) return std::nullopt;
  return std::string(name);
}

Result<Trace> read_trace(const std::string& path) {
  std::string_view name = path;
  const Format* const format = take_format(name);
  if (format == nullptr) {
    return Error{Errc::invalid_argument,
                 path + ": not a trace by its name: .keys, .lis or .oracleGeneral.bin, then .gz, .zst or nothing"};
  }
  Result<std::unique_ptr<ByteSource>> source = open_bytes(path);
  if (!source) return source.error();
  Trace trace;
  if (Result<void> read = format->read(path, **source, trace); !read) return read.error();
  if (trace.requests.empty()) return Error{Errc::bad_data, path + ": holds no request"};
  return trace;
}

}  // namespace tiercache::tools
