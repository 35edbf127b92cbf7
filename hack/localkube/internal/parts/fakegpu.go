package parts

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	dp "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// fakeGPUSocket is the plugin's own socket, beside the kubelet's.
const fakeGPUSocket = "localkube-fake-gpu.sock"

// gpuPlugin is a device plugin that offers devices which do not exist.
type gpuPlugin struct {
	dp.UnimplementedDevicePluginServer
	devices []*dp.Device
}

func newGPUPlugin(count int) *gpuPlugin {
	p := &gpuPlugin{}
	for i := range count {
		p.devices = append(p.devices, &dp.Device{ID: fmt.Sprintf("fake-%d", i), Health: dp.Healthy})
	}
	return p
}

func (p *gpuPlugin) GetDevicePluginOptions(context.Context, *dp.Empty) (*dp.DevicePluginOptions, error) {
	return &dp.DevicePluginOptions{}, nil
}

func (p *gpuPlugin) ListAndWatch(_ *dp.Empty, s grpc.ServerStreamingServer[dp.ListAndWatchResponse]) error {
	if err := s.Send(&dp.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func (p *gpuPlugin) Allocate(_ context.Context, r *dp.AllocateRequest) (*dp.AllocateResponse, error) {
	out := &dp.AllocateResponse{}
	for _, c := range r.ContainerRequests {
		ids := strings.Join(c.DevicesIds, ",")
		out.ContainerResponses = append(out.ContainerResponses, &dp.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": ids, "LOCALKUBE_FAKE_GPU": ids},
		})
	}
	return out, nil
}

// fakeGPU serves the plugin, and registers again whenever the kubelet starts
// anew: that removes every socket in the folder and makes its own afresh.
func fakeGPU(args []string) error {
	fs := flag.NewFlagSet("fake-gpu", flag.ExitOnError)
	count := fs.Int("count", 4, "devices to offer")
	resource := fs.String("resource", "nvidia.com/gpu", "extended resource name")
	dir := fs.String("dir", dp.DevicePluginPath, "the kubelet's device plugin folder")
	fs.Parse(args) //nolint:errcheck // exits by itself

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	plugin := newGPUPlugin(*count)
	for ctx.Err() == nil {
		if err := serveOnce(ctx, plugin, *dir, *resource); err != nil {
			log.Print(err)
		}
		pause(ctx, 500*time.Millisecond)
	}
	return nil
}

// serveOnce serves until the kubelet, or the plugin's own socket, is another.
func serveOnce(ctx context.Context, plugin *gpuPlugin, dir, resource string) error {
	kubelet := filepath.Join(dir, "kubelet.sock")
	first, err := os.Stat(kubelet)
	if err != nil {
		return nil // not up yet
	}
	own := filepath.Join(dir, fakeGPUSocket)
	os.Remove(own) //nolint:errcheck // listening fails if it stays
	listener, err := net.Listen("unix", own)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	dp.RegisterDevicePluginServer(server, plugin)
	go server.Serve(listener) //nolint:errcheck // ends with Stop
	defer server.Stop()
	if err := register(ctx, kubelet, resource); err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	log.Printf("registered %d x %s", len(plugin.devices), resource)
	for ctx.Err() == nil {
		pause(ctx, time.Second)
		if now, err := os.Stat(kubelet); err != nil || !os.SameFile(now, first) {
			return fmt.Errorf("the kubelet has restarted: registering again")
		}
		if _, err := os.Stat(own); err != nil {
			return fmt.Errorf("own socket is gone: registering again")
		}
	}
	return nil
}

func register(ctx context.Context, kubelet, resource string) error {
	conn, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = dp.NewRegistrationClient(conn).Register(ctx, &dp.RegisterRequest{
		Version: dp.Version, Endpoint: fakeGPUSocket, ResourceName: resource, Options: &dp.DevicePluginOptions{},
	})
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
