// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace tiercache::metrics {

struct Answer {
  int status = 200;
  std::string body;
  std::string type = "text/plain; charset=utf-8";
};

/// Reads one HTTP request from a socket and writes one answer: cpp-httplib's parser over a stream that is bounded in bytes and
/// time. Thread-safe.
class HttpServer {
 public:
  /// Answers GET and HEAD; what it throws becomes a 500.
  using Handler = std::function<Answer(const std::string& path)>;

  HttpServer(Handler handler, std::size_t request_bytes_max);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  void serve(int fd, Deadline deadline) noexcept;

 private:
  class Parser;
  const std::size_t request_bytes_max_;
  std::unique_ptr<Parser> parser_;
};

}  // namespace tiercache::metrics
