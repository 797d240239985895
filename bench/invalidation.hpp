// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "report.hpp"

namespace tiercache::bench {

void lag_rows(const Arguments& arguments, Report& report);       ///< bus.lag.*
void survival_row(const Arguments& arguments, Report& report);   ///< bus.survival
void recovery_rows(const Arguments& arguments, Report& report);  ///< bus.recovery.*

}  // namespace tiercache::bench
