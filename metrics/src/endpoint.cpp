// SPDX-License-Identifier: Apache-2.0
#include <tiercache/metrics/endpoint.hpp>

#include "http_server.hpp"
#include "listener.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace tiercache::metrics {
namespace {

std::string_view name(HealthState state) noexcept {
  switch (state) {
    case HealthState::ok: return "ok";
    case HealthState::degraded: return "degraded";
    case HealthState::closed: return "closed";
  }
  return "unknown";
}

void append_json(std::string& out, std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += hex[static_cast<unsigned char>(c) >> 4];
      out += hex[c & 0xF];
    } else {
      out += c;
    }
  }
  out += '"';
}

Answer health_answer(const std::vector<StoreSnapshot>& stores) {
  HealthState worst = HealthState::ok;
  std::string list;
  for (const StoreSnapshot& s : stores) {
    if (s.health.state == HealthState::ok) continue;
    worst = std::max(worst, s.health.state);
    list += list.empty() ? "{\"env\":" : ",{\"env\":";
    append_json(list, s.env);
    list += ",\"resource\":";
    append_json(list, s.resource);
    list += ",\"state\":";
    append_json(list, name(s.health.state));
    list += ",\"reason\":";
    append_json(list, s.health.reason);
    list += '}';
  }
  if (worst == HealthState::ok) return {200, "ok"};
  std::string body = "{\"status\":";
  append_json(body, name(worst));
  body += ",\"stores\":[" + list + "]}\n";
  return {503, std::move(body), "application/json"};
}

Answer answer(const Pull& pull, const std::string& path) {
  if (path == "/metrics") return {200, render_text(pull()), text_content_type};
  if (path == "/healthz") return health_answer(pull());
  return {404, "not found: try /metrics or /healthz\n"};
}

}  // namespace

Result<void> EndpointOptions::validate() const {
  const auto refuse = [](std::string why) { return Error{Errc::invalid_argument, "metrics endpoint: " + std::move(why)}; };
  if (address.empty()) return refuse("address is empty");
  if (threads < 1 || threads > 16) return refuse("threads must be 1 .. 16");
  if (pending_max < 1 || pending_max > 1024) return refuse("pending_max must be 1 .. 1024");
  if (request_bytes_max < 256 || request_bytes_max > (1U << 20)) return refuse("request_bytes_max must be 256 .. 1 MiB");
  if (request_timeout.count() < 1 || request_timeout > std::chrono::minutes(1))
    return refuse("request_timeout must be 1 ms .. 1 min");
  return {};
}

/// The order matters: the listener's threads use the parser, so it goes first.
struct Endpoint::Impl {
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Listener> listener;
};

Endpoint::Endpoint(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

Endpoint::~Endpoint() { stop(); }

Result<std::unique_ptr<Endpoint>> Endpoint::start(const EndpointOptions& options, Pull pull) {
  if (const Result<void> valid = options.validate(); !valid) return valid.error();
  if (!pull) return Error{Errc::invalid_argument, "metrics endpoint: pull is empty"};
  auto impl = std::make_unique<Impl>();
  impl->http = std::make_unique<HttpServer>([pull = std::move(pull)](const std::string& path) { return answer(pull, path); },
                                            options.request_bytes_max);
  auto listener = Listener::open(options.address, options.port, {options.threads, options.pending_max, options.request_timeout},
                                 [http = impl->http.get()](int fd, Deadline deadline) { http->serve(fd, deadline); });
  if (!listener) return std::move(listener).error();
  impl->listener = std::move(listener).value();
  return std::unique_ptr<Endpoint>(new Endpoint(std::move(impl)));
}

std::uint16_t Endpoint::port() const noexcept { return impl_->listener->port(); }

void Endpoint::stop() noexcept { impl_->listener->stop(); }

}  // namespace tiercache::metrics
