// SPDX-License-Identifier: Apache-2.0
#include "log_sink.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace tiercache::detail {

LogSink spdlog_sink() {
  // A logger of our own rather than spdlog's default one: the service may have set that up for itself.
  auto logger = std::make_shared<spdlog::logger>("tiercache", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(spdlog::level::trace);
  return [logger](LogLevel level, std::string_view line) {
    constexpr spdlog::level::level_enum levels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                    spdlog::level::err, spdlog::level::off};
    logger->log(levels[static_cast<unsigned>(level)], "{}", line);
  };
}

}  // namespace tiercache::detail
