# Install rules: public headers without the lab's, the libraries without the lab builds, CMake package, pkg-config file.
#
# One export set for each component, so that a user of tiercache::l1 alone needs only xxHash.
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tiercache")

function(tiercache_install_component component)
  foreach(module ${ARGN})
    get_target_property(source_dir tiercache_${module} SOURCE_DIR)
    if(EXISTS "${source_dir}/include")
      # lab.hpp switches remedies off; what is installed has neither it nor anything that includes it (tests/layout).
      install(DIRECTORY "${source_dir}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "lab.hpp" EXCLUDE)
    endif()
    install(TARGETS tiercache_${module} EXPORT tiercache-${component} ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  endforeach()
  install(EXPORT tiercache-${component} NAMESPACE tiercache:: FILE tiercache-${component}.cmake DESTINATION "${package_dir}")
endfunction()

tiercache_install_component(l1 base l1)
if(TIERCACHE_BUILD_CORE)
  tiercache_install_component(core l2 invalidation core tiercache)
endif()
if(TIERCACHE_BUILD_METRICS)
  tiercache_install_component(metrics metrics)
endif()

configure_package_config_file(cmake/tiercacheConfig.cmake.in "${PROJECT_BINARY_DIR}/package/tiercacheConfig.cmake"
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/tiercacheConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/package/tiercacheConfig.cmake" "${PROJECT_BINARY_DIR}/package/tiercacheConfigVersion.cmake"
  cmake/FindxxHash.cmake cmake/Findhiredis.cmake cmake/Findcpp-httplib.cmake DESTINATION "${package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

if(TIERCACHE_BUILD_CORE)
  # Relative to the file's own folder: the tree may be moved after the install.
  file(RELATIVE_PATH TIERCACHE_PC_PREFIX "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
  configure_file(cmake/tiercache.pc.in "${PROJECT_BINARY_DIR}/package/tiercache.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/package/tiercache.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endif()
