// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tiercache::test {

/// A connection to 127.0.0.1 that sends exactly what it is told to, also what no HTTP library would.
class RawConnection {
 public:
  explicit RawConnection(std::uint16_t port);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  [[nodiscard]] bool connected() const { return fd_ >= 0; }
  bool send(const std::string& bytes);
  /// All bytes until the peer closes or `timeout_ms` passed; `closed` tells which.
  std::string receive_all(int timeout_ms, bool* closed = nullptr);

 private:
  int fd_ = -1;
};

struct HttpAnswer {
  int status = 0;  ///< 0: no answer
  std::map<std::string, std::string> headers;
  std::string body;
};
HttpAnswer parse_answer(const std::string& bytes);
HttpAnswer http(std::uint16_t port, const std::string& method, const std::string& path);

}  // namespace tiercache::test
