// SPDX-License-Identifier: Apache-2.0
#include <tiercache/l2/options.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace tiercache::l2 {
namespace {

// No message quotes what was given: a mistyped URL may have the password anywhere.
Error bad(std::string_view field, std::string_view why) {
  return {Errc::invalid_argument, "l2." + std::string(field) + ": " + std::string(why)};
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const char* const digits = text.data() + i + 1;
    if (text.size() - i < 3) return std::nullopt;
    const auto [end, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error != std::errc{} || end != digits + 2) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

std::optional<std::uint32_t> decimal(std::string_view text, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

// user[:password]@
Result<void> take_user(std::string_view& authority, Endpoint& to) {
  const auto at = authority.rfind('@');
  if (at == authority.npos) return {};
  const std::string_view user = authority.substr(0, at);
  authority.remove_prefix(at + 1);
  const auto colon = user.find(':');
  auto name = percent_decoded(user.substr(0, colon));
  auto password = percent_decoded(colon == user.npos ? std::string_view{} : user.substr(colon + 1));
  if (!name || !password) return bad("url", "the user or password is not valid percent-encoding");
  to.username = std::move(*name);
  to.password = std::move(*password);
  return {};
}

// host[:port] or [v6][:port]
Result<void> take_host(std::string_view authority, Endpoint& to) {
  std::string_view host = authority;
  std::string_view port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == authority.npos) return bad("url", "the IPv6 address has no closing bracket");
    host = authority.substr(1, end - 1);
    const std::string_view rest = authority.substr(end + 1);
    has_port = rest.starts_with(':');
    if (!rest.empty() && !has_port) return bad("url", "only a port may follow the IPv6 address");
    if (has_port) port = rest.substr(1);
  } else if (const auto colon = authority.find(':'); colon != authority.npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon + 1);
    has_port = true;
    if (port.find(':') != port.npos) return bad("url", "an IPv6 address stands in brackets");
  }
  auto decoded = percent_decoded(host);
  if (!decoded || !printable(*decoded)) return bad("url", "the host is not valid percent-encoding");
  if (decoded->empty()) return bad("url", "the host is missing");
  to.host = std::move(*decoded);
  if (has_port) {
    const auto number = decimal(port, 65535);
    if (!number || *number == 0) return bad("url", "the port is not a number of 1 to 65535");
    to.port = static_cast<std::uint16_t>(*number);
  }
  return {};
}

}  // namespace

Result<Endpoint> parse_endpoint(const Options& options) {
  Endpoint to;
  std::string_view rest = options.url;
  constexpr std::string_view scheme = "redis://";
  if (rest.starts_with("rediss://")) return bad("url", "TLS (rediss://) is not supported");
  if (!rest.starts_with(scheme)) return bad("url", "it must begin with redis://");
  rest.remove_prefix(scheme.size());
  if (rest.find_first_of("?#") != rest.npos) return bad("url", "no query or fragment is known; encode ? and # by percent signs");
  const auto slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (auto done = take_user(authority, to); !done) return done.error();
  if (auto done = take_host(authority, to); !done) return done.error();
  if (slash != rest.npos && slash + 1 < rest.size()) {
    constexpr std::uint32_t db_max = 1'000'000;
    const auto db = decimal(rest.substr(slash + 1), db_max);
    if (!db) return bad("url", "the database is not a number");
    to.db = *db;
  }
  if (!options.username.empty()) to.username = options.username;
  if (!options.password.empty()) to.password = options.password;
  if (!to.username.empty() && to.password.empty())
    return bad(options.username.empty() ? "url" : "username", "a user needs a password");
  return to;
}

Result<void> Options::validate() const {
  if (!enabled) return {};  // the kill switch must work whatever the rest says
  if (auto endpoint = parse_endpoint(*this); !endpoint) return endpoint.error();
  using std::chrono::milliseconds;
  constexpr milliseconds day = std::chrono::hours(24);
  const auto sane = [day](milliseconds t) { return t > milliseconds::zero() && t <= day; };
  if (!printable(client_name) || client_name.size() > 64)
    return bad("client_name", "at most 64 printable characters without spaces");
  if (pool_size < 1 || pool_size > 256) return bad("pool_size", "must be 1 to 256");
  if (!sane(connect_timeout)) return bad("connect_timeout", "must be above 0 and at most a day");
  if (!sane(call_timeout)) return bad("call_timeout", "must be above 0 and at most a day");
  if (!sane(backoff_min)) return bad("backoff_min", "must be above 0 and at most a day");
  if (!sane(backoff_max) || backoff_max < backoff_min) return bad("backoff_max", "must be backoff_min or more and at most a day");
  if (shards > 16384) return bad("shards", "must be 0 to 16384");
  if (max_reply_bytes < 1024) return bad("max_reply_bytes", "must be 1024 or more");
  if (wait_replicas > 64) return bad("wait_replicas", "must be 0 to 64");
  if (!sane(wait_timeout)) return bad("wait_timeout", "must be above 0 and at most a day");
  if (max_reply_elements < 16) return bad("max_reply_elements", "must be 16 or more");
  return {};
}

}  // namespace tiercache::l2
