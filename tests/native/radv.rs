//! What shaders cost on AMD GPUs, without one: Mesa's RADV compiles for a GPU that is not there if a process is started
//! with the name of its family in `RADV_FORCE_FAMILY`.

#![allow(unsafe_code, reason = "Vulkan is called through its C interface")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use ash::{Device, Entry, Instance, khr, vk};

/// The file by which Vulkan finds the driver.
fn driver() -> PathBuf {
    const FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let files = FOLDERS.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut files = files.map(|file| file.unwrap().path());
    files
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("radeon_icd."))
        .expect("Mesa's RADV, a Vulkan driver; it is in Debian's mesa-vulkan-drivers and needs no GPU")
}

/// Lets a program that is about to start compile for a family of GPUs.
pub fn compile_for<'a>(command: &'a mut Command, family: &str) -> &'a mut Command {
    let driver = driver();
    command
        .env("RADV_FORCE_FAMILY", family)
        .env("MESA_SHADER_CACHE_DISABLE", "true")
        // The second is what newer loaders look at first.
        .env("VK_ICD_FILENAMES", &driver)
        .env("VK_DRIVER_FILES", driver)
}

/// A device of the family that this process was started for.
pub struct Radv {
    device: Device,
    instance: Instance,
    /// The loader, which everything else calls into.
    _entry: Entry,
    executables: khr::pipeline_executable_properties::Device,
    /// Its name and version.
    pub driver: String,
}

impl Radv {
    pub fn open() -> Self {
        // SAFETY: every structure is valid when it is passed, and what they point to outlives the calls.
        unsafe {
            let entry = Entry::load().expect("Vulkan's loader, libvulkan1, is installed");
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None).expect("an instance of Vulkan 1.3");
            let devices = instance.enumerate_physical_devices().expect("a list of devices");
            let &[physical] = &devices[..] else { panic!("{} devices where RADV has one", devices.len()) };

            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let driver = driver.driver_info_as_c_str().expect("a driver's version").to_string_lossy().into_owned();

            // What wgpu asks for, and the statistics.
            let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
            let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            let mut zeroed = vk::PhysicalDeviceZeroInitializeWorkgroupMemoryFeatures::default()
                .shader_zero_initialize_workgroup_memory(true);
            let mut half = vk::PhysicalDeviceShaderFloat16Int8Features::default().shader_float16(true);
            let mut storage = vk::PhysicalDevice16BitStorageFeatures::default()
                .storage_buffer16_bit_access(true)
                .uniform_and_storage_buffer16_bit_access(true);
            let mut statistics =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let extensions = [khr::pipeline_executable_properties::NAME.as_ptr(), ash::ext::robustness2::NAME.as_ptr()];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&core)
                .push_next(&mut robust)
                .push_next(&mut zeroed)
                .push_next(&mut half)
                .push_next(&mut storage)
                .push_next(&mut statistics);
            let device = instance.create_device(physical, &info, None).expect("a device with what wgpu asks for");
            let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
            Radv { device, instance, _entry: entry, executables, driver }
        }
    }

    /// Compiles the entry point `main` of a compute shader whose binding 0 is a uniform and whose next `storage` ones are
    /// storage buffers. What RADV says of the outcome, by the names it has for it.
    pub fn compile(&self, spirv: &[u32], storage: u32) -> HashMap<String, u64> {
        let binding = |binding| {
            let kind = match binding {
                0 => vk::DescriptorType::UNIFORM_BUFFER,
                _ => vk::DescriptorType::STORAGE_BUFFER,
            };
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(kind)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let bindings: Vec<_> = (0..=storage).map(binding).collect();
        let device = &self.device;
        // SAFETY: as above; everything is made by this device, and destroyed once, after its last use.
        unsafe {
            let info = vk::ShaderModuleCreateInfo::default().code(spirv);
            let module = device.create_shader_module(&info, None).expect("a shader module");
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [device.create_descriptor_set_layout(&info, None).expect("a layout of the bindings")];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&info, None).expect("a layout of the pipeline");
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .stage(stage)
                .layout(layout);
            let pipelines = device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = pipelines.expect("a pipeline")[0];

            let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
            let executables = self.executables.get_pipeline_executable_properties(&info).expect("its executables");
            assert_eq!(executables.len(), 1, "a compute shader is one executable");
            let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = self.executables.get_pipeline_executable_statistics(&info).expect("its statistics");
            let statistics = statistics.into_iter().map(|statistic| {
                let name = statistic.name_as_c_str().expect("a name").to_string_lossy().into_owned();
                assert_eq!(statistic.format, vk::PipelineExecutableStatisticFormatKHR::UINT64, "{name}");
                (name, statistic.value.u64)
            });
            let mut statistics: HashMap<_, _> = statistics.collect();
            statistics.insert("Subgroup size".into(), executables[0].subgroup_size.into());

            device.destroy_pipeline(pipeline, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(sets[0], None);
            device.destroy_shader_module(module, None);
            statistics
        }
    }
}

impl Drop for Radv {
    fn drop(&mut self) {
        // SAFETY: nothing else is left of either, and the loader is dropped after this.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
