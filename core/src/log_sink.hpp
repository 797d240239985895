// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/log.hpp>

namespace tiercache::detail {

/// The default sink: spdlog's stderr sink under the logger name "tiercache".
[[nodiscard]] LogSink spdlog_sink();

}  // namespace tiercache::detail
